"""The servers that tests run against: real, embedded, started when a test first asks and stopped after the last."""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg
import pytest
import redis
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from app.local.kafka import SHORT_LIVED, KafkaServer
from app.local.postgres import PostgresServer
from app.local.redis import RedisServer, redis6_binary
from app.local.server import EmbeddedServer
from projections.migrate import upgrade
from schemas.topics import Topics

TEST_PARTITIONS: Final = 3
TOPICS_SECONDS: Final = 30.0

ServerT = TypeVar("ServerT", bound=EmbeddedServer)
ResultT = TypeVar("ResultT")


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A shell starts what runs in the background with SIGINT ignored, and every process that a test starts would
    inherit it: who interrupts one would wait for nothing.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def server_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the data of this run's servers."""
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def kafka(server_root: Path) -> Iterator[KafkaServer]:
    """A one-node Kafka 4.1."""
    yield from _running(KafkaServer(server_root / "kafka", java_options=SHORT_LIVED))


@pytest.fixture(scope="session")
def redis_server(server_root: Path) -> Iterator[RedisServer]:
    """The newest Redis at hand: the one on PATH, else 8.x."""
    yield from _running(RedisServer(server_root / "redis"))


@pytest.fixture(scope="session")
def redis6_server(server_root: Path) -> Iterator[RedisServer]:
    """Redis 6.2, the oldest that the bridge supports."""
    yield from _running(RedisServer(server_root / "redis6", binary=redis6_binary()))


@pytest.fixture(scope="session")
def postgres(server_root: Path) -> Iterator[PostgresServer]:
    """PostgreSQL 18 with pgvector. Its data need not outlive the machine's power."""
    yield from _running(PostgresServer(server_root / "postgres", settings={"fsync": "off"}))


@pytest.fixture(scope="session")
def migrated(postgres: PostgresServer) -> str:
    """The name of a database of `postgres` that is at the newest schema and empty, for copies."""
    return migrated_template(postgres)


def migrated_template(postgres: PostgresServer) -> str:
    """Make a database with the newest schema, which nobody can connect to and change; returns its name."""
    name = "migrated"
    _run(_execute(postgres.url, f"CREATE DATABASE {name}"))
    upgrade(_url_of(postgres, name))
    _run(_execute(postgres.url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
    return name


@pytest.fixture
def database_url(request: pytest.FixtureRequest, postgres: PostgresServer) -> Iterator[str]:
    """A fresh database: empty, or at the newest schema when the test or a fixture of it asks for `migrated_url`."""
    template = request.getfixturevalue("migrated") if "migrated_url" in request.fixturenames else None
    with fresh_database(postgres, template) as url:
        yield url


@pytest.fixture
def migrated_url(database_url: str) -> str:
    """`database_url`, whose database has the newest schema."""
    return database_url


@contextmanager
def fresh_database(postgres: PostgresServer, template: str | None = None) -> Iterator[str]:
    """The address of a new database, empty or a copy of `template`; dropped at the end, whoever is still connected."""
    name = f"test_{uuid.uuid4().hex}"
    # A copy of the files: the default would write all of them to the log of changes.
    copied = f" TEMPLATE {template}" if template else ""
    _run(_execute(postgres.url, f"CREATE DATABASE {name}{copied} STRATEGY file_copy"))
    try:
        yield _url_of(postgres, name)
    finally:
        _run(_execute(postgres.url, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """An empty logical database of `redis_server`."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushdb()
    return redis_server.url


@pytest.fixture
def topics(kafka: KafkaServer) -> Iterator[Topics]:
    """Topics of this test's own, made on the broker with three partitions each; deleted after the test."""
    own = Topics(prefix=f"t{uuid.uuid4().hex[:12]}.")
    _run(_create_topics(kafka.bootstrap_servers, own))
    yield own
    _run(_delete_topics(kafka.bootstrap_servers, own.prefix))


def _url_of(postgres: PostgresServer, database: str) -> str:
    return postgres.url.rpartition("/")[0] + f"/{database}"


def _running(server: ServerT) -> Iterator[ServerT]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _run(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run it in a thread of its own, since the test's event loop may be running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _create_topics(bootstrap_servers: str, topics: Topics) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        answer = await admin.create_topics(
            [NewTopic(topic.name, TEST_PARTITIONS, 1, topic_configs=topic.configs()) for topic in topics.all()]
        )
        assert all(error == 0 for _name, error, *_ in answer.topic_errors), answer
        # The controller has made them; the broker hears of it a moment later.
        names, deadline = [topic.name for topic in topics.all()], time.monotonic() + TOPICS_SECONDS
        while not all(row["error_code"] == 0 and row["partitions"] for row in await admin.describe_topics(names)):
            assert time.monotonic() < deadline, f"the broker does not know of {names}"
            await asyncio.sleep(0.01)
    finally:
        await admin.close()


async def _delete_topics(bootstrap_servers: str, prefix: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_topics([name for name in await admin.list_topics() if name.startswith(prefix)])
    finally:
        await admin.close()
