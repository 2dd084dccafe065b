"""`python -m app seed`: what the API's reader then answers, and where it is refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError

from app.local.kafka import KafkaServer
from app.seed import Seeded, samples, seed
from projections.migrate import upgrade
from projections.offsets import LogOffsets
from projections.pool import create_pool
from projections.reader import ClusterReader
from schemas.answers import encode_answer
from schemas.errors import StopProcess
from schemas.topics import Topics
from tests.conftest import TEST_PARTITIONS
from tests.integration.app_command import run_app
from tests.integration.projections.samples import eventually
from tests.integration.projections.test_retention import answers


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Any]:
    async with create_pool(database_url, size=2, statement_timeout_ms=20_000, ssl_mode="disable") as opened:
        yield opened


@pytest.fixture
def command(tmp_path: Path, database_url: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str, **variables: str) -> Any:
        return run_app(tmp_path, "seed", *arguments, **{"DATABASE_URL": database_url, **variables})

    return run


async def test_an_empty_database_answers_for_the_samples(pool: Any, command: Any) -> None:
    done = command("--pets", "2", "--versions", "8")
    assert (done.returncode, done.stdout, done.stderr) == (0, "2 pets: 16 versions written, 0 were there\n", "")
    reader = ClusterReader(pool)
    latest = await reader.latest_answer("seed-pet-2")
    assert latest is not None
    assert latest.version == 8
    assert {cluster.label for cluster in latest.clusters} == {"Sofa", "Garden", "Sleeping"}
    assert all(cluster.member_count >= 2 and cluster.hero_image_id for cluster in latest.clusters)
    assert latest.unclustered
    assert latest.metrics.coverage == {"portrait": 0.8}
    assert list(await answers(pool, "seed-pet-1", 8)) == list(range(1, 9))
    jobs = await reader.jobs_of_pet("seed-pet-1", 50)
    assert [(job.status, job.version, job.placed + job.failed == job.image_count) for job in jobs] == [
        ("succeeded", version, True) for version in range(8, 0, -1)
    ]
    assert [job.failed_images[0].kind for job in jobs if job.failed] == ["not_found", "not_found"]


async def test_a_repeat_changes_nothing_and_more_versions_go_on(pool: Any, database_url: str, command: Any) -> None:
    upgrade(database_url)
    assert await seed(pool, pets=1, versions=4) == Seeded(written=4, present=0)
    first = await answers(pool, "seed-pet-1", 4)
    assert command("--pets", "1", "--versions", "4").stdout == "1 pets: 0 versions written, 4 were there\n"
    assert await seed(pool, pets=1, versions=6) == Seeded(written=2, present=4)
    grown = await answers(pool, "seed-pet-1", 6)
    assert {number: grown[number] for number in first} == first


async def test_the_samples_are_the_same_in_every_database(pool: Any, database_url: str) -> None:
    upgrade(database_url)
    await seed(pool, pets=1, versions=5)
    other = database_url + "_other"
    await pool.execute(f"CREATE DATABASE {other.rpartition('/')[2]}")
    upgrade(other)
    async with create_pool(other, size=1, statement_timeout_ms=20_000, ssl_mode="disable") as second:
        await seed(second, pets=1, versions=7)
        mine, others = await answers(pool, "seed-pet-1", 5), await answers(second, "seed-pet-1", 5)
    await pool.execute(f"DROP DATABASE {other.rpartition('/')[2]}")
    assert mine == others
    assert [sample.version.version for sample in samples(3, 4)] == [1, 2, 3, 4]


async def test_a_pet_that_is_no_sample_is_left_alone(pool: Any, database_url: str) -> None:
    upgrade(database_url)
    await seed(pool, pets=1, versions=2)
    await pool.execute("UPDATE pet_clusters SET model = 'effnet@1' WHERE version = 2")
    before = await answers(pool, "seed-pet-1", 3)
    with pytest.raises(StopProcess, match=r"seed-pet-1 .* model is effnet@1"):
        await seed(pool, pets=1, versions=3)
    assert await answers(pool, "seed-pet-1", 3) == before


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_it_is_refused_where_real_pets_are(command: Any, environment: str, database_url: str) -> None:
    done = command(ENVIRONMENT=environment, INTERNAL_TOKEN="secret", DATABASE_SSL_MODE="disable")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"stopped: ENVIRONMENT: is {environment}; seed runs in local and development only\n"


async def test_the_answer_is_what_the_views_send(pool: Any, command: Any) -> None:
    assert command("--pets", "1", "--versions", "3", ENVIRONMENT="development", INTERNAL_TOKEN="x").returncode == 0
    answer = await ClusterReader(pool).latest_answer("seed-pet-1")
    assert answer is not None
    assert b'"seed-pet-1-cluster-0"' in encode_answer(answer)


async def until_the_broker_has_groups(topics: Topics, kafka: KafkaServer) -> None:
    """A new broker makes their topic when it is first asked, and refuses until it is there."""

    async def asked() -> bool:
        async with LogOffsets(kafka.bootstrap_servers) as broker:
            try:
                await broker.committed("any", [TopicPartition(topics.pet_log.name, 0)])
            except GroupCoordinatorNotAvailableError:
                return False
            return True

    await eventually(asked, 60)


async def test_verify_counts_the_samples_apart(
    tmp_path: Path, kafka: KafkaServer, topics: Topics, database_url: str, redis_url: str, command: Any, pool: Any
) -> None:
    """They have rows and no facts; rows of any other pet without facts differ."""
    everywhere = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "KAFKA_TOPIC_PREFIX": topics.prefix,
        "KAFKA_PARTITIONS": str(TEST_PARTITIONS), "REDIS_URL": redis_url, "DATABASE_URL": database_url,
    }  # fmt: skip
    assert run_app(tmp_path, "prepare", **everywhere).returncode == 0
    assert command("--pets", "2", "--versions", "3").returncode == 0
    await until_the_broker_has_groups(topics, kafka)
    done = run_app(tmp_path, "verify", "--processes", "1", **everywhere)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not compared: 2 pets that `seed` has written" in done.stdout
    one = run_app(tmp_path, "verify", "--json", "--pet", "seed-pet-2", **everywhere)
    assert (one.returncode, json.loads(one.stdout.splitlines()[-1])["made_up"]) == (0, 1)

    await pool.execute("UPDATE pet_clusters SET model = 'effnet@1' WHERE pet_id = 'seed-pet-2'")
    done = run_app(tmp_path, "verify", "--json", "--processes", "1", **everywhere)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, lines[-1]["made_up"]) == (1, 1)
    assert [line["pet_id"] for line in lines if line["step"] == "differs"] == ["seed-pet-2"]
