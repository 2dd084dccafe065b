"""A command whose Postgres, Kafka or Redis is away: one line that names the setting, and no password."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg
import pytest
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from pydantic import SecretStr
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError

from app.away import told
from app.local.kafka import KafkaServer
from app.local.ports import HOST, free_port
from app.settings import Settings
from schemas.topics import Topics
from tests.integration.app_command import run_app

SETTINGS = Settings(
    database_url=SecretStr("postgresql://ann:s3cret@db:5432/media?password=s3cret"),
    kafka_bootstrap_servers="broker:9092",
    redis_url=SecretStr("redis://:s3cret@cache:6379/0"),
)
POSTGRES = "Postgres at DATABASE_URL=postgresql://db:5432/media"
KAFKA = "Kafka at KAFKA_BOOTSTRAP_SERVERS=broker:9092"
REDIS = "Redis at REDIS_URL=redis://cache:6379/0"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(111, "x"), f"{POSTGRES} cannot be reached: ConnectionRefusedError: [Errno 111] x"),
        (TimeoutError(), f"{POSTGRES} cannot be reached: TimeoutError"),
        (asyncpg.InvalidCatalogNameError("none\nsuch"), f"{POSTGRES} refuses: InvalidCatalogNameError: none such"),
        (KafkaConnectionError("x"), f"{KAFKA} cannot be reached: KafkaConnectionError: x"),
        (TopicAuthorizationFailedError(), f"{KAFKA} refuses: "),
        (RedisConnectionError("x"), f"{REDIS} cannot be reached: ConnectionError: x"),
        (AuthenticationError("x"), f"{REDIS} refuses: AuthenticationError: x"),
    ],
)  # fmt: skip
def test_what_is_away_is_told_by_its_setting(error: Exception, said: str) -> None:
    assert (told(SETTINGS, error) or "").startswith(said)


@pytest.mark.parametrize(
    "error", [FileNotFoundError(2, "gone", "/some/file"), BrokenPipeError(32, "pipe"), ValueError("x")]
)
def test_a_file_is_no_store(error: Exception) -> None:
    assert told(SETTINGS, error) is None


@pytest.mark.parametrize(
    ("arguments", "who", "code"),
    [
        (("prepare",), "Kafka", 1),
        (("compare", "--sample", "1", "--predecessor-url", "http://127.0.0.1:1"), "Postgres", 1),
        (("verify",), "Kafka", 3),
        (("rebuild", "--projection", "tables"), "Kafka", 1),
        (("log", "export", "--to", "backup"), "Kafka", 1),
    ],
)
def test_a_command_ends_with_that_one_line(tmp_path: Path, arguments: tuple[str, ...], who: str, code: int) -> None:
    nowhere = f"{HOST}:{free_port()}"
    done = run_app(
        tmp_path, *arguments, KAFKA_BOOTSTRAP_SERVERS=nowhere, DATABASE_URL=f"postgresql://ann:s3cret@{nowhere}/media"
    )
    address = {"Kafka": "KAFKA_BOOTSTRAP_SERVERS=", "Postgres": "DATABASE_URL=postgresql://"}[who] + nowhere
    assert done.returncode == code, done.stderr
    assert re.fullmatch(rf"stopped: {who} at {address}\S* cannot be reached: \w+: .+\n", done.stderr), done.stderr


def test_prepare_tells_what_it_has_done_and_no_more(
    tmp_path: Path, kafka: KafkaServer, topics: Topics, database_url: str
) -> None:
    settings = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "KAFKA_TOPIC_PREFIX": topics.prefix}
    partitions = {"KAFKA_PARTITIONS": "3"}
    nowhere = f"postgresql://{HOST}:{free_port()}/media"
    without = run_app(tmp_path, "prepare", DATABASE_URL=nowhere, **settings, **partitions)
    assert without.returncode == 1
    assert without.stderr.startswith(f"stopped: Postgres at DATABASE_URL={nowhere} cannot be reached: ")
    done = run_app(tmp_path, "prepare", DATABASE_URL=database_url, **settings, **partitions)
    assert done.returncode == 0
    assert "aiokafka" not in done.stderr
    assert '"prepared"' in done.stderr
