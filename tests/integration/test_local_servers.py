"""The embedded servers: they keep data and ports over a restart, move from a taken port, and take no wrong jar."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import UnknownTopicOrPartitionError

from app.local.kafka import SHORT_LIVED, KafkaServer
from app.local.kafka_jars import ChecksumError, JarLock, fetch, jar_name, user_cache
from app.local.ports import PortBook, free_port, free_run, is_free
from app.local.postgres import PostgresServer
from app.local.processes import StartError
from app.local.redis import RedisServer, default_binary, redis6_binary
from app.local.server import EmbeddedServer


@contextmanager
def taken(port: int) -> Iterator[None]:
    """Somebody else listens on `port`."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        yield


@contextmanager
def started(server: EmbeddedServer) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        server.stop()


@pytest.mark.parametrize("version", [6, 8])
def test_redis_keeps_its_data_and_port_over_a_stop_and_a_crash(tmp_path: Path, version: int) -> None:
    server = RedisServer(tmp_path, binary=redis6_binary() if version == 6 else None)
    with started(server):
        url = server.url
        client = redis.Redis.from_url(url)
        assert int(str(client.info()["redis_version"]).split(".")[0]) >= version
        client.set("photo", "cat")
        client.close()
        server.kill()
        assert not server.running()
    later = RedisServer(tmp_path, binary=redis6_binary() if version == 6 else None)
    with started(later):
        assert later.url == url
        assert redis.Redis.from_url(url).get("photo") == b"cat"


def test_postgres_keeps_its_data_and_port_over_a_stop_and_a_crash(tmp_path: Path) -> None:
    async def write(url: str) -> None:
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE EXTENSION vector")
        await connection.execute("CREATE TABLE photos (id text, v vector(2))")
        await connection.execute("INSERT INTO photos VALUES ('cat', '[3,4]')")
        server.kill()  # in mid-session

    async def read(url: str) -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval("SELECT id FROM photos ORDER BY v <-> '[0,0]' LIMIT 1")
        finally:
            await connection.close()

    server = PostgresServer(tmp_path)
    with started(server):
        url = server.url
        asyncio.run(write(url))
    for _ in range(2):  # after the crash, then after a stop in good order
        with started(PostgresServer(tmp_path)):
            assert asyncio.run(read(url)) == "cat"


def test_kafka_keeps_its_data_and_moves_only_the_port_that_is_taken(tmp_path: Path) -> None:
    async def write(bootstrap_servers: str) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
        await admin.start()
        await admin.create_topics([NewTopic("photos", 1, 1)])
        await admin.close()
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all")
        await producer.start()
        await producer.send_and_wait("photos", b"cat")
        await producer.stop()

    async def read(bootstrap_servers: str) -> bytes:
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
        await consumer.start()
        try:
            consumer.assign([TopicPartition("photos", 0)])
            value: bytes = (await consumer.getone()).value
            return value
        finally:
            await consumer.stop()

    server = KafkaServer(tmp_path, java_options=SHORT_LIVED)
    with started(server):
        first = dict(server.ports)
        asyncio.run(write(server.bootstrap_servers))
        server.kill()
    with taken(first["broker"]), started(server):
        assert server.ports["broker"] != first["broker"]
        assert server.ports["controller"] == first["controller"]
        assert asyncio.run(read(server.bootstrap_servers)) == b"cat"


def test_kafka_makes_no_topic_unasked(kafka: KafkaServer) -> None:
    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, request_timeout_ms=1000) as producer:
            await producer.send_and_wait("never-made", b"cat")

    with pytest.raises(UnknownTopicOrPartitionError):
        asyncio.run(send())


@pytest.mark.parametrize("server_type", [RedisServer, PostgresServer])
def test_a_taken_port_is_moved_and_the_new_one_kept(
    tmp_path: Path, server_type: type[RedisServer] | type[PostgresServer]
) -> None:
    server = server_type(tmp_path)
    with started(server):
        first = server.url
    with taken(server.ports[server.name]), started(server):
        moved = server.url
        assert moved != first
    with started(server):
        assert server.url == moved


def test_starting_twice_finds_the_running_server(redis_server: RedisServer) -> None:
    second = RedisServer(redis_server.data_dir)
    second.start()
    assert second.url == redis_server.url


def test_postgres_starts_again_after_an_interrupted_initdb(tmp_path: Path) -> None:
    (tmp_path / "data" / "base").mkdir(parents=True)
    (tmp_path / "data" / "PG_VERSION").write_text("18\n")
    with started(PostgresServer(tmp_path)):
        pass


def test_the_environment_s_own_redis_6_is_not_taken_for_the_machine_s(monkeypatch: pytest.MonkeyPatch) -> None:
    own = redis6_binary().parent
    assert (own / "redis-server").exists()
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert default_binary() != Path(sys.executable).parent / "redis-server"
    monkeypatch.setenv("PATH", str(own))
    assert default_binary() == own / "redis-server"


def test_a_cached_jar_with_other_content_is_refused(tmp_path: Path) -> None:
    lock = _one_jar()
    (coordinate,) = lock.jars
    folder = tmp_path / f"kafka-{lock.version}"
    folder.mkdir()
    (folder / jar_name(coordinate)).write_bytes(b"not a jar")
    with pytest.raises(ChecksumError, match=rf"{coordinate}: .*{jar_name(coordinate)} has SHA-256 [0-9a-f]{{64}}, the"):
        fetch(lock, tmp_path)


def test_a_download_with_a_wrong_checksum_is_refused_and_not_kept(tmp_path: Path) -> None:
    lock = _one_jar()
    (coordinate,) = lock.jars
    wrong = replace(lock, jars={coordinate: "0" * 64})
    with pytest.raises(ChecksumError, match=rf"{coordinate}.*the lock file says 0000"):
        fetch(wrong, tmp_path)
    assert list(tmp_path.rglob("*.jar")) == []
    assert [path.name for path in fetch(lock, tmp_path)] == [jar_name(coordinate)]


def test_kafka_does_not_start_on_a_jar_with_other_content(tmp_path: Path) -> None:
    lock = JarLock.read()
    fetch(lock)
    cache = tmp_path / "cache"
    shutil.copytree(user_cache() / f"kafka-{lock.version}", cache / f"kafka-{lock.version}")
    with (cache / f"kafka-{lock.version}" / "kafka_2.13-4.1.0.jar").open("ab") as jar:
        jar.write(b"x")
    with pytest.raises(ChecksumError, match=r"org\.apache\.kafka:kafka_2\.13:4\.1\.0"):
        KafkaServer(tmp_path / "kafka", cache=cache).start()


def test_a_malformed_lock_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "kafka.lock.toml"
    path.write_text('version = "4.1.0"\n[jars]\n"org.apache.kafka:kafka_2.13:4.1.0" = "abc"\n')
    with pytest.raises(ValueError, match=r"kafka_2\.13:4\.1\.0.*'abc'"):
        JarLock.read(path)


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"(?s)redis ended with exit code.*no-redis"):
        RedisServer(tmp_path, binary=tmp_path / "no-redis").start()


def test_ports_are_remembered_by_name_and_differ(tmp_path: Path) -> None:
    book = PortBook(tmp_path / "ports.json")
    ports = {name: book.claim(name) for name in "abcdef"}
    assert len(set(ports.values())) == 6
    assert PortBook(tmp_path / "ports.json").remembered() == ports
    assert book.claim("a") == ports["a"]


def test_a_run_of_ports_skips_over_a_taken_one(tmp_path: Path) -> None:
    first = free_run(free_port(), 4)
    with taken(first + 2):
        assert not is_free(first + 2)
        moved = PortBook(tmp_path / "ports.json").claim("metrics", preferred=first, count=4)
    assert moved > first + 2


def _one_jar() -> JarLock:
    """The lock of the smallest jar alone."""
    lock = JarLock.read()
    coordinate = "org.jspecify:jspecify:1.0.0"
    return replace(lock, jars={coordinate: lock.jars[coordinate]})
