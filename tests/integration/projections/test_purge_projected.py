"""A purge through the projector: from the topics to Postgres and Redis, whatever fails on the way or comes late."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.local.kafka import KafkaServer
from projections.cache import AnswerCache
from projections.purges import PurgeRecords, PurgeRow
from projections.reader import ClusterReader
from projections.telemetry import ProjectorMetrics
from schemas.answers import encode_answer
from schemas.topics import Topics
from tests.integration.projections.letters import record_of
from tests.integration.projections.purge_samples import EMPTY, OTHER, PET, asked, command, counts, erased, status
from tests.integration.projections.rig import Counted, Rig
from tests.integration.projections.samples import Album, eventually, member, version

PARTITION = 1


@pytest.fixture
async def rig(kafka: KafkaServer, topics: Topics, pool: Any, cache: AnswerCache) -> AsyncIterator[Rig]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, acks="all")
    await producer.start()
    yield Rig(kafka.bootstrap_servers, topics, pool, cache, producer)
    await producer.stop()


def album_of(pet_id: str, versions: int) -> tuple[Any, ...]:
    album = Album(pet_id, seed=5)
    return tuple(album.draw() for _ in range(versions))


async def until_receipt(rig: Rig, purge_id: str = "purge-1") -> PurgeRow:
    """Until the purge is told to be done, Redis included."""

    async def done() -> PurgeRow | None:
        found = await PurgeRecords(rig.pool).find(PET, purge_id)
        return found if found is not None and found.cache_removed_at is not None else None

    receipt: PurgeRow = await eventually(done)
    return receipt


async def test_a_purge_empties_rows_and_cache_and_what_comes_late_changes_nothing(rig: Rig) -> None:
    assert rig.cache is not None
    versions, ignored, purged = album_of(PET, 7), Counted(), Counted()
    async with rig.running(metrics=ProjectorMetrics(versions_ignored=ignored, pets_purged=purged)):
        await rig.send(command(), status(), *versions, *album_of(OTHER, 3), record_of("a"), partition=PARTITION)
        before = await rig.until_cached(PET, 7)
        await eventually(lambda: rig.pool.fetchval("SELECT count(*) FROM dead_letters"))
        await rig.send(asked(), erased(7, partition=PARTITION), partition=PARTITION)
        receipt = await until_receipt(rig)
        assert receipt.removed is not None
        assert receipt.removed.postgres["pet_clusters"] == 7
        assert await rig.cache.get(PET) is None
        assert not await rig.cache.put(PET, encode_answer(before), before.generation, 7), "a read that began before"

        await rig.send(command(), status(), versions[3], record_of("b"), partition=PARTITION)
        await rig.send(version(PET, 8, (member("new", -1),)), partition=PARTITION)
        answer = await rig.until_cached(PET, 8)
        assert (answer.unclustered, answer.image_count) == (("new",), 1)
        await rig.send(command(pet_id=OTHER), partition=PARTITION)
        await eventually(lambda: rig.pool.fetchval("SELECT count(*) FROM cluster_jobs WHERE pet_id = $1", OTHER))
        assert await counts(rig.pool) == EMPTY | {"pet_clusters": 1, "cluster_members": 1}
    assert (ignored.value, purged.value, rig.dead, rig.replays) == (1, 1, [], [])


async def test_a_purge_whose_cached_answer_was_out_of_reach_is_finished_behind_a_restart(rig: Rig) -> None:
    """The rows are gone and the position is stored; then the process ends before Redis was told."""
    assert rig.cache is not None
    async with rig.running():
        await rig.send(*album_of(PET, 3), partition=PARTITION)
        await rig.until_cached(PET, 3)
    nowhere: Any = Redis.from_url("redis://127.0.0.1:1/0", retry=Retry(NoBackoff(), 0), socket_connect_timeout=2)
    without = replace(rig, cache=AnswerCache(nowhere, namespace="test.clusters", ttl_seconds=600))
    async with without.running():
        await rig.send(erased(3, partition=PARTITION), partition=PARTITION)
        await eventually(lambda: rig.pool.fetchval("SELECT count(*) FROM pet_purges WHERE purged_at IS NOT NULL"))
    await nowhere.aclose()
    assert await rig.cache.get(PET) is not None, "Redis has not heard of it"
    async with rig.running():
        await until_receipt(rig)
    assert await rig.cache.get(PET) is None
    assert await counts(rig.pool) == EMPTY


async def test_a_purge_that_stands_in_a_gap_is_carried_out(rig: Rig) -> None:
    before = album_of(PET, 4)
    after = [version(PET, number, (member(f"new-{number}", -1),)) for number in (5, 6)]
    rig.log[PET] = [*before, erased(4, partition=PARTITION), *after]
    async with rig.running():
        await rig.send(*before[:2], partition=PARTITION)
        await rig.until_version(PET, 2)
        await rig.send(after[1], partition=PARTITION)
        await rig.until_cached(PET, 6)
    assert (rig.replays, rig.dead) == ([(PET, 0, 2)], [])
    rows = await rig.pool.fetch("SELECT version FROM pet_clusters WHERE pet_id = $1 ORDER BY 1", PET)
    assert [row["version"] for row in rows] == [5, 6]
    answer = await ClusterReader(rig.pool).latest_answer(PET)
    assert answer is not None
    assert sorted(answer.unclustered) == ["new-5", "new-6"]


async def test_a_purge_that_cannot_be_read_is_dead_lettered_and_the_rest_goes_on(rig: Rig) -> None:
    async with rig.running():
        await rig.send(*album_of(PET, 2), erased(2, time="yesterday"), version(PET, 3), partition=PARTITION)
        await rig.until_cached(PET, 3)
    assert [reason for _, _, reason in rig.dead] == ["time: must be an RFC 3339 time, got 'yesterday'"]
