"""Versions folded from the real log again: the projector fills its gaps with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.errors import KafkaError

from app.local.kafka import KafkaServer
from projections.cache import AnswerCache
from projections.gap_replay import LogVersions
from schemas.codec import encode_fact
from schemas.errors import InvalidInput, UnknownVersion
from schemas.facts import Policy, PolicyChanged, ReclusterRequested
from schemas.ids import UNCLUSTERED
from schemas.pet_keys import NoKeys
from schemas.topics import PARTITION_FACTS_KEY, Topics
from schemas.versions import PetVersion
from tables.replay import LogReplay
from tests.albums import Directions, embedded, image
from tests.integration.projections.rig import Rig

TIME = "2026-11-21T00:00:00.000000+00:00"
PARTITION = 2
Entry = tuple[bytes, bytes]


def entry(fact: Any, pet_id: str) -> Entry:
    return pet_id.encode(), encode_fact(fact, event_id="e", time=TIME, pet_id=pet_id)


def log_of_two_pets() -> list[Entry]:
    """Bursts of two pets in turn; on the way the first pet is reclustered and the policy changed."""
    directions = Directions(5)
    bursts = [directions.new() for _ in range(4)]
    log = []
    for shot in range(12):
        for pet_id in ("101", "102"):
            photos = [image(f"{pet_id}-{shot}-{n}", directions.near(bursts[(shot + n) % 4])) for n in range(3)]
            log.append(entry(embedded(photos, job_id=f"job-{shot}"), pet_id))
        if shot == 6:
            log.append(entry(ReclusterRequested(request_id="r1"), "101"))
        if shot == 8:
            log.append(entry(PolicyChanged(policy=Policy(policy_id="strict", join=0.8, merge=0.85)), "/partition"))
    assert PARTITION_FACTS_KEY == "/partition"
    return log


def folded(log: list[Entry], pet_id: str) -> list[PetVersion]:
    replay = LogReplay(PARTITION)
    versions = [replay.feed(offset, key, value) for offset, (key, value) in enumerate(log)]
    return [version for version in versions if isinstance(version, PetVersion) and version.pet_id == pet_id]


def places(versions: list[PetVersion]) -> dict[str, int]:
    """Where each image lies after these versions, read as `schemas.versions` says."""
    where: dict[str, int] = {}
    for version in versions:
        merged = {change.number: change.merged_into for change in version.clusters if change.merged_into >= 0}
        where = {image_id: merged.get(number, number) for image_id, number in where.items()}
        where |= {change.image_id: change.cluster for change in version.members}
    return where


@pytest.fixture
async def rig(kafka: KafkaServer, topics: Topics, pool: Any, cache: AnswerCache) -> AsyncIterator[Rig]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, acks="all")
    await producer.start()
    yield Rig(kafka.bootstrap_servers, topics, pool, cache, producer)
    await producer.stop()


async def write_log(rig: Rig, log: list[Entry]) -> LogVersions:
    for key, value in log:
        await rig.producer.send_and_wait(rig.topics.pet_log.name, value, key=key, partition=PARTITION)
    return LogVersions(bootstrap_servers=rig.bootstrap_servers, topics=rig.topics, keys=NoKeys())


async def test_the_log_gives_the_versions_after_the_one_that_is_there(rig: Rig) -> None:
    log = log_of_two_pets()
    versions = await write_log(rig, log)
    expected = folded(log, "101")
    assert [version.version for version in expected] == list(range(1, len(expected) + 1))
    assert [version async for version in versions.replay("101", PARTITION, 0)] == expected
    assert [version async for version in versions.replay("101", PARTITION, 9)] == expected[9:]
    assert [version async for version in versions.replay("101", PARTITION, len(expected))] == []
    assert [version async for version in versions.replay("101", 0, 0)] == []


async def test_a_slow_answer_on_where_to_begin_does_not_lose_the_log(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that asked for the end by itself would go there, although it was told to begin at the beginning."""
    ask, reset = Fetcher._proc_offset_request, Fetcher._update_fetch_positions
    resetting = ContextVar("resetting", default=False)

    async def reset_noted(*args: Any) -> Any:
        resetting.set(True)
        return await reset(*args)

    async def ask_slowly(*args: Any) -> Any:
        answer = await ask(*args)
        if resetting.get():
            await asyncio.sleep(0.3)
        return answer

    monkeypatch.setattr(Fetcher, "_update_fetch_positions", reset_noted)
    monkeypatch.setattr(Fetcher, "_proc_offset_request", ask_slowly)
    log = log_of_two_pets()
    versions = await write_log(rig, log)
    assert [version async for version in versions.replay("101", PARTITION, 0)] == folded(log, "101")


async def test_a_projection_built_from_the_log_says_what_the_fold_says(rig: Rig) -> None:
    """Only the newest version arrives: all before it come from the log."""
    log = log_of_two_pets()
    versions = await write_log(rig, log)
    expected = folded(log, "101")
    async with rig.running(replay=versions.replay):
        await rig.send(expected[-1], partition=PARTITION)
        answer = await rig.until_cached("101", len(expected))
    assert rig.dead == []
    rows = await rig.pool.fetch(
        "SELECT image_id, cluster_number FROM cluster_members WHERE pet_id = '101' AND until_version IS NULL"
    )
    where = places(expected)
    assert {row["image_id"]: row["cluster_number"] for row in rows} == where
    assert answer.image_count == len(where) == 36
    assert answer.unclustered_count == len(answer.unclustered) == list(where.values()).count(UNCLUSTERED)
    assert len(answer.clusters) == expected[-1].cluster_count > 1
    numbers = list(where.values())
    assert [c.member_count for c in answer.clusters] == [
        numbers.count(int(c.id.rpartition("-")[2])) for c in answer.clusters
    ]
    assert all(c.hero_image_id == c.heroes[0].image_id for c in answer.clusters)


async def test_a_newer_releases_fact_ends_the_replay(rig: Rig) -> None:
    log = log_of_two_pets()[:3]
    newer = log[0][1].replace(b"ImagesEmbedded", b"ImagesImagined")
    versions = await write_log(rig, [*log, (b"101", newer)])
    with pytest.raises(UnknownVersion):
        _ = [version async for version in versions.replay("101", PARTITION, 0)]


async def test_a_partition_that_the_log_lacks_is_refused(rig: Rig) -> None:
    versions = LogVersions(bootstrap_servers=rig.bootstrap_servers, topics=rig.topics, keys=NoKeys())
    with pytest.raises(InvalidInput, match="partition"):
        _ = [version async for version in versions.replay("101", 99, 0)]


async def test_a_broker_that_is_away_raises(topics: Topics) -> None:
    versions = LogVersions(bootstrap_servers="127.0.0.1:1", topics=topics, keys=NoKeys())
    with pytest.raises(KafkaError):
        _ = [version async for version in versions.replay("101", 0, 0)]
