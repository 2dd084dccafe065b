"""The projector on the real broker: what it is sent is in Postgres and Redis, once, whatever fails on the way."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from redis.asyncio import Redis

from app.local.kafka import KafkaServer
from app.local.postgres import PostgresServer
from app.local.redis import RedisServer
from projections.cache import AnswerCache
from projections.migrate import upgrade
from projections.pool import create_pool
from projections.reader import ClusterReader
from projections.telemetry import ProjectorMetrics
from schemas.commands import EmbedImages
from schemas.errors import StopProcess
from schemas.public import JobStatus
from schemas.topics import Topics
from schemas.versions import DECIDED_FORMAT, PetVersion
from tests.integration.projections.rig import Counted, Rig
from tests.integration.projections.samples import Album, cluster, eventually, member, version

ROOT = Path(__file__).parents[3]


@pytest.fixture
async def rig(kafka: KafkaServer, topics: Topics, pool: Any, cache: AnswerCache) -> AsyncIterator[Rig]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, acks="all")
    await producer.start()
    yield Rig(kafka.bootstrap_servers, topics, pool, cache, producer)
    await producer.stop()


def interleaved(*albums: Album, rounds: int) -> list[PetVersion]:
    return [album.draw() for _ in range(rounds) for album in albums]


async def check_album(rig: Rig, album: Album) -> None:
    """The rows of this moment are the album's."""
    rows = await rig.pool.fetch(
        "SELECT image_id, cluster_number FROM cluster_members WHERE pet_id = $1 AND until_version IS NULL", album.pet_id
    )
    assert {row["image_id"]: row["cluster_number"] for row in rows} == album.where


async def test_versions_and_jobs_become_rows_and_cached_answers(rig: Rig, pool: Any, reader: ClusterReader) -> None:
    albums = [Album(str(100 + number), seed=number) for number in range(6)]
    applied, jobs = Counted(), Counted()
    async with rig.running(metrics=ProjectorMetrics(versions_applied=applied, job_messages=jobs)) as projector:
        await rig.send(EmbedImages(pet_id="100", job_id="job_1", job_images=3, enqueued_at="2026-11-21T07:49:24Z"))
        await rig.send(*interleaved(*albums, rounds=20))
        await rig.send(JobStatus(pet_id="100", job_id="job_1", status="succeeded", at="2026-11-21T07:49:25Z", placed=3))
        for album in albums:
            answer = await rig.until_cached(album.pet_id, 20)
            assert answer == await reader.latest_answer(album.pet_id)
            assert answer.image_count == len(album.where)
            await check_album(rig, album)
        await eventually(lambda: pool.fetchval("SELECT count(*) FROM cluster_jobs WHERE status = 'succeeded'"))
        assert projector.ready
    assert (applied.value, jobs.value, rig.dead, rig.replays) == (120, 2, [], [])


async def test_a_restart_goes_on_where_the_rows_are_and_repeats_nothing(rig: Rig) -> None:
    album = Album("101", seed=1)
    async with rig.running():
        await rig.send(*interleaved(album, rounds=10))
        await rig.until_cached("101", 10)
    applied, ignored = Counted(), Counted()
    async with rig.running(metrics=ProjectorMetrics(versions_applied=applied, versions_ignored=ignored)):
        await rig.send(*interleaved(album, rounds=5))
        await rig.until_cached("101", 15)
    assert (applied.value, ignored.value) == (5, 0)
    await check_album(rig, album)


async def test_a_killed_projector_leaves_nothing_half_done(rig: Rig, redis_url: str, database_url: str) -> None:
    """A kill -9 in the midst of the stream: what stood keeps standing as it was, what lacked is written once."""
    albums = [Album(str(100 + number), seed=number) for number in range(3)]
    await rig.send(*interleaved(*albums, rounds=200))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.integration.projections.run_projector", rig.bootstrap_servers, rig.topics.prefix),
        *(database_url, redis_url),
        cwd=ROOT,
    )
    count = "SELECT count(*) FROM pet_clusters"
    try:
        await eventually(lambda: rig.pool.fetchval(count + " HAVING count(*) > 60"))
    finally:
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
    before = await rig.pool.fetch("SELECT id, created_at FROM pet_clusters")
    assert len(before) < 600, "the kill came too late to prove anything"

    async with rig.running(group="after"):
        for album in albums:
            await rig.until_cached(album.pet_id, 200)
            await check_album(rig, album)
    after = await rig.pool.fetch("SELECT id, created_at FROM pet_clusters")
    assert len(after) == 600
    assert {tuple(row) for row in before} <= {tuple(row) for row in after}


async def test_a_gap_is_filled_from_the_log(rig: Rig) -> None:
    album = Album("101", seed=2)
    versions = interleaved(album, rounds=9)
    rig.log["101"] = [*versions]
    async with rig.running():
        await rig.send(*versions[:2])
        await rig.until_version("101", 2)
        await rig.send(version("101", 7, partition=5), *versions[7:])
        await rig.until_cached("101", 9)
    assert rig.replays == [("101", 5, 2)]
    assert rig.dead == []
    await check_album(rig, album)


async def test_a_gap_that_the_log_cannot_fill_holds_up_no_other_pet(rig: Rig) -> None:
    async with rig.running():
        await rig.send(version("101", 3), version("102", 1), version("101", 4), version("102", 2), partition=0)
        await rig.until_cached("102", 2)
    assert [(topic, reason) for topic, _, reason in rig.dead] == [
        ("media.pet-versions", "version 3 follows 0: the log lacks what lies between"),
        ("media.pet-versions", "version 4 follows 0: the log lacks what lies between"),
    ]
    assert rig.replays == [("101", 0, 0)], "the log is not read again for a gap that it could not fill"


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        ((version("101", 1),), "the log lacks what lies between"),
        ((version("101", 1), version("101", 2, image_count=2**31)), "what lies between cannot be written: image_count"),
        ((version("101", 1, (member("a", 2**31),)),), "what lies between cannot be written: invalid input"),
        ((version("101", 1, (member("a", 0, 5.0),)),), "what lies between cannot be written: new row for relation"),
    ],
    ids=["a part is missing", "a count fits no column", "a number fits no column", "Postgres refuses a row"],
)
async def test_a_gap_that_stays_is_read_from_the_log_once(
    rig: Rig, pool: Any, between: tuple[PetVersion, ...], reason: str
) -> None:
    """Each reading folds the whole partition, and a pet may have thousands of later versions."""
    await pool.execute("ALTER TABLE cluster_members ADD CHECK (score <= 1)")
    rig.log["101"] = list(between)
    later = [version("101", number) for number in range(4, 10)]
    async with rig.running():
        await rig.send(*later, version("102", 1), partition=0)
        await rig.until_cached("102", 1)
    reasons = [told for _, _, told in rig.dead]
    assert len(reasons) == len(later)
    assert all(told.startswith(f"version {n} follows 0: {reason}") for n, told in enumerate(reasons, start=4)), reasons
    assert rig.replays == [("101", 0, 0)]


async def test_garbage_is_dead_lettered_once_and_what_follows_is_applied(rig: Rig, pool: Any) -> None:
    names = rig.topics
    async with rig.running():
        await rig.send_bytes(names.pet_versions.name, "101", b"\xc1 no msgpack")
        await rig.send_bytes(names.jobs.name, "101", b"{")
        await rig.send_bytes(names.jobs.name, "101", b'{"type":"EmbedImages","version":1,"pet_id":"a/b","job_id":"j"}')
        await rig.send_bytes(names.jobs_status.name, "101", b'{"pet_id":"101","job_id":"j","status":"lost","at":"x"}')
        # Passes the decoder; its row does not fit the table, which only Postgres or the writer can say.
        await rig.send(version("101", 1, image_count=-1))
        await rig.send(version("101", 1, (member("a", 0),), (cluster(0, 1, "a"),)))
        await rig.send(EmbedImages(pet_id="101", job_id="job_1"))
        await rig.until_cached("101", 1)
        await eventually(lambda: pool.fetchval("SELECT count(*) FROM cluster_jobs WHERE job_id = 'job_1'"))
        await eventually(lambda: asyncio.sleep(0, len(rig.dead) >= 5))
    reasons = {(topic, reason.split(":")[0]) for topic, _, reason in rig.dead}
    assert reasons == {
        ("media.pet-versions", "not a version"),
        ("media.pet-versions", "image_count"),
        ("media.jobs", "not a command"),
        ("media.jobs", "pet_id"),
        ("media.jobs.status", "not a job status"),
    }
    assert len(rig.dead) == 5


@pytest.mark.parametrize("written_by", ["the value", "the header"])
async def test_a_newer_releases_message_stops_the_process(rig: Rig, written_by: str) -> None:
    projector = rig.projector()
    await projector.start()
    await rig.send(version("101", 1))
    await rig.until_version("101", 1)
    if written_by == "the value":
        await rig.send(version("101", 2, format=DECIDED_FORMAT + 1))
    else:
        newer = [("ce_type", b"media.JobStatus.v2")]
        await rig.send_bytes(rig.topics.jobs_status.name, "101", b"{}", newer)
    with pytest.raises(StopProcess, match=r"newer release|this release knows"):
        await asyncio.wait_for(projector.wait(), 30)
    assert rig.dead == []


async def test_a_database_of_another_broker_stops_the_process(rig: Rig, pool: Any) -> None:
    await pool.execute(
        "INSERT INTO projection_positions VALUES ('postgres', $1, 0, 1000)", rig.topics.pet_versions.name
    )
    with pytest.raises(StopProcess, match="another broker"):
        await asyncio.wait_for(rig.projector().run(), 30)


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("DROP TABLE projection_positions", "UndefinedTableError"),
        ("ALTER TABLE projection_positions RENAME COLUMN next_offset TO following", "UndefinedColumnError"),
        ("ALTER TABLE cluster_jobs DROP COLUMN last_error", "UndefinedColumnError"),
        ("DROP TABLE projection_generations", "UndefinedTableError"),
    ],
    ids=["positions: no table", "positions: no column", "rows: no column", "answers: no table"],
)
async def test_a_database_of_another_release_stops_the_process(rig: Rig, pool: Any, statement: str, error: str) -> None:
    await pool.execute(statement)
    await rig.send(EmbedImages(pet_id="101", job_id="job_1"), version("101", 1))
    with pytest.raises(StopProcess, match=rf"{error}: .*run the migrations"):
        await asyncio.wait_for(rig.projector().run(), 30)
    assert rig.dead == []


async def test_a_missing_grant_stops_the_process(rig: Rig, pool: Any, database_url: str) -> None:
    name = f"user_{uuid.uuid4().hex}"
    await pool.execute(f"CREATE ROLE {name} LOGIN")
    url = database_url.replace("postgres@", f"{name}@")
    try:
        async with create_pool(url, size=4, statement_timeout_ms=20_000, ssl_mode="disable") as powerless:
            with pytest.raises(StopProcess, match=r"permission denied.*grant it"):
                await asyncio.wait_for(rig.projector(pool=powerless).run(), 30)
    finally:
        await pool.execute(f"DROP ROLE {name}")


async def test_while_postgres_is_away_the_projector_is_not_ready_and_goes_on_later(rig: Rig, tmp_path: Path) -> None:
    own = PostgresServer(tmp_path / "postgres", settings={"fsync": "off"})
    own.start()
    upgrade(own.url)
    try:
        async with create_pool(own.url, size=4, statement_timeout_ms=20_000, ssl_mode="disable") as pool:
            rig.pool = pool
            async with rig.running() as projector:
                assert (projector.ready, projector.waits_for) == (False, "joining the consumer group")
                await rig.send(version("101", 1))
                await rig.until_version("101", 1)
                assert (projector.ready, projector.waits_for) == (True, "")
                own.kill()
                await rig.send(version("101", 2))
                await eventually(lambda: asyncio.sleep(0, projector.waits_for.startswith("waiting for Postgres: ")))
                assert not projector.ready
                own.start()
                await rig.until_version("101", 2)
                await eventually(lambda: asyncio.sleep(0, projector.ready))
    finally:
        own.stop()


async def test_two_owners_of_a_partition_write_everything_once(rig: Rig) -> None:
    """Two groups on one database: each is a zombie to the other."""
    albums = [Album(str(100 + number), seed=number) for number in range(3)]
    applied = Counted()
    metrics = ProjectorMetrics(versions_applied=applied)
    async with (
        rig.running(group="a", metrics=metrics) as one,
        rig.running(group="b", metrics=metrics) as other,
    ):
        await eventually(lambda: asyncio.sleep(0, one.ready and other.ready))
        for _ in range(4):
            await rig.send(*interleaved(*albums, rounds=10))
        for album in albums:
            await rig.until_cached(album.pet_id, 40)
            await check_album(rig, album)
    assert (rig.dead, rig.replays) == ([], [])
    assert await rig.pool.fetchval("SELECT count(*) FROM pet_clusters") == 120
    assert applied.value == 120


async def test_a_connection_lost_in_mid_transaction_skips_nothing(rig: Rig, pool: Any) -> None:
    album, errors = Album("101", seed=5), Counted()
    blocked = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with rig.running(metrics=ProjectorMetrics(postgres_errors=errors)):
        await rig.send(*interleaved(album, rounds=5))
        await rig.until_cached("101", 5)
        async with pool.acquire() as holder, holder.transaction():
            # The projector has moved its position and now waits to insert the version.
            await holder.execute("LOCK TABLE cluster_members IN ACCESS EXCLUSIVE MODE")
            await rig.send(*interleaved(album, rounds=20))
            pid = await eventually(lambda: pool.fetchval(blocked))
            await pool.fetchval("SELECT pg_terminate_backend($1)", pid)
            await eventually(lambda: asyncio.sleep(0, errors.value))
        await rig.until_cached("101", 25)
    await check_album(rig, album)
    assert rig.dead == []


async def test_while_redis_is_away_the_rows_go_on_and_the_cache_follows_later(rig: Rig, tmp_path: Path) -> None:
    own = RedisServer(tmp_path / "redis")
    own.start()
    client = Redis.from_url(own.url, socket_connect_timeout=1, socket_timeout=1)
    rig.cache = AnswerCache(client, namespace="own", ttl_seconds=600)
    first, second = Album("101", seed=6), Album("102", seed=7)
    errors = Counted()
    try:
        async with rig.running(metrics=ProjectorMetrics(cache_errors=errors)):
            await rig.send(*interleaved(first, second, rounds=2))
            await rig.until_cached("101", 2)
            own.kill()
            await rig.send(*interleaved(first, second, rounds=6))
            await rig.until_version("101", 8)
            await rig.until_version("102", 8)
            await eventually(lambda: asyncio.sleep(0, errors.value))
            own.start()
            await rig.until_cached("101", 8)
            await rig.until_cached("102", 8)
    finally:
        own.stop()
        await client.aclose()


async def test_a_crash_between_the_rows_and_the_cache_leaves_no_stale_answer(rig: Rig) -> None:
    album = Album("101", seed=8)
    async with rig.running():
        await rig.send(*interleaved(album, rounds=3))
        await rig.until_cached("101", 3)
    away = Redis.from_url("redis://127.0.0.1:1/0")
    rig.cache, reachable = AnswerCache(away, namespace="x", ttl_seconds=60), rig.cache
    async with rig.running():
        await rig.send(*interleaved(album, rounds=3))
        await rig.until_version("101", 6)
    rig.cache = reachable
    applied = Counted()
    async with rig.running(metrics=ProjectorMetrics(versions_applied=applied)):
        await rig.until_cached("101", 6)
    assert applied.value == 0
    await away.aclose()


async def test_the_groups_offsets_show_how_far_the_rows_are(rig: Rig) -> None:
    async with rig.running():
        await rig.send(version("101", 1), version("101", 2), partition=1)
        await rig.until_version("101", 2)
    observer = AIOKafkaConsumer(bootstrap_servers=rig.bootstrap_servers, group_id=f"{rig.topics.prefix}project")
    await observer.start()
    committed = await observer.committed(TopicPartition(rig.topics.pet_versions.name, 1))
    await observer.stop()
    assert committed == 2


@pytest.mark.parametrize("answers", ["refused", "silence"])
async def test_stopping_while_kafka_is_away_returns(rig: Rig, answers: str) -> None:
    with socket.socket() as broker:
        broker.bind(("127.0.0.1", 0))
        if answers == "silence":
            broker.listen()
        projector = rig.projector(bootstrap_servers=f"127.0.0.1:{broker.getsockname()[1]}")
        await projector.start()
        if answers == "refused":
            await eventually(lambda: asyncio.sleep(0, projector.waits_for.startswith("waiting for Kafka: ")))
        assert not projector.ready
        # A client waits 40 s for a broker that accepts connections and says nothing.
        await asyncio.wait_for(projector.stop(), 30)
