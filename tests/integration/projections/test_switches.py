"""PROJECT_REDIS off and on again: Redis is left alone meanwhile, then brought to the rows, whenever it is cut off."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from app.local.kafka import KafkaServer
from app.local.ports import HOST, free_port
from app.local.probe import answers_ok
from app.local.processes import wait_until
from projections.cache import AnswerCache, stored_position
from projections.runner import POLL_RECORDS, Projector
from projections.telemetry import ProjectorMetrics
from schemas.answers import AnswerMetrics, ClusterAnswer, encode_answer
from schemas.topics import Topics
from tests.integration.projections.rig import Counted, Rig
from tests.integration.projections.samples import eventually, member, version

ROOT = Path(__file__).parents[3]
PETS = tuple(f"pet-{number}" for number in range(150))
LAST = 5


@pytest.fixture
async def rig(kafka: KafkaServer, topics: Topics, pool: Any, cache: AnswerCache) -> AsyncIterator[Rig]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, acks="all")
    await producer.start()
    yield Rig(kafka.bootstrap_servers, topics, pool, cache, producer)
    await producer.stop()


async def write_without_cache(rig: Rig, *pets: str, versions: range) -> None:
    """All versions of one pet behind those of the other, in one partition: more than one poll when there are many."""
    cache, rig.cache = rig.cache, None
    async with rig.running() as projector:
        await rig.send(
            *(version(pet, number, (member(f"i{number}", 0),)) for pet in pets for number in versions), partition=0
        )
        for pet in pets:
            await rig.until_version(pet, versions[-1])
        assert projector.to_refresh == 0
    rig.cache = cache


async def cached_version(cache: AnswerCache, pet: str) -> int:
    position = stored_position(await cache.get(pet) or b"")
    return position[1] if position else 0


async def test_what_was_written_meanwhile_is_brought_to_redis_and_replaces_what_was_left_there(
    rig: Rig, cache: AnswerCache
) -> None:
    async with rig.running():
        await rig.send(version("101", 1, (member("a", 0),)), partition=0)
        await rig.until_cached("101", 1)
    await write_without_cache(rig, "102", versions=range(1, 3))
    await write_without_cache(rig, "101", versions=range(2, 4))
    assert [await cached_version(cache, pet) for pet in ("101", "102")] == [1, 0], "Redis is left alone"
    applied = Counted()
    async with rig.running(metrics=ProjectorMetrics(versions_applied=applied)) as projector:
        await rig.until_cached("101", 3)
        await rig.until_cached("102", 2)
        await eventually(lambda: _settled(projector))
    assert applied.value == 0, "no row is written twice"


async def _settled(projector: Projector) -> bool:
    return projector.ready and projector.to_refresh == 0


class _EndsAfterTheFirst:
    """A cache whose first answer is the last thing that this projector does."""

    def __init__(self, cache: AnswerCache) -> None:
        self._cache = cache
        self.projector: Projector | None = None
        self.stored = 0

    async def put(self, pet_id: str, answer: bytes, generation: int, number: int) -> bool:
        self.stored += 1
        assert self.projector is not None
        self.projector._stopping.set()
        return await self._cache.put(pet_id, answer, generation, number)


async def test_cut_off_while_it_brings_answers_to_redis_it_goes_on_where_it_was(rig: Rig, cache: AnswerCache) -> None:
    await write_without_cache(rig, *PETS, versions=range(1, LAST + 1))
    assert len(PETS) * LAST > POLL_RECORDS, "else one poll reads them all"
    metrics = AnswerMetrics(coverage={}, quality_score=None, processed_at="")
    stale = ClusterAnswer(PETS[-1], (), metrics, "", 0, 0, (), generation=1, version=1)
    await cache.put(PETS[-1], encode_answer(stale), 1, 1)

    ending: Any = _EndsAfterTheFirst(cache)
    rig.cache = ending
    ending.projector = rig.projector()
    await ending.projector.run()
    assert 0 < ending.stored < len(PETS)
    assert await cached_version(cache, PETS[-1]) == 1, "cut off before the last"

    rig.cache = cache
    async with rig.running():
        await rig.until_cached(PETS[-1], LAST)
    assert {await cached_version(cache, pet) for pet in PETS} == {LAST}


async def test_the_role_writes_what_its_switches_say(
    rig: Rig, cache: AnswerCache, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Off altogether, nothing is written and nothing lost; then Postgres alone; then both."""
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "KAFKA_BOOTSTRAP_SERVERS": rig.bootstrap_servers,
        "KAFKA_TOPIC_PREFIX": rig.topics.prefix, "DATABASE_URL": database_url, "REDIS_URL": redis_url,
        "NAMESPACE": "test.clusters", "WORKER_METRICS_HOST": HOST, "WORKER_METRICS_PORT": str(free_port()),
        "READ_REDIS": "false", "READ_POSTGRES": "false",
    }  # fmt: skip
    ready = f"http://{HOST}:{environment['WORKER_METRICS_PORT']}/readyz"

    @contextmanager
    def role(**switches: str) -> Iterator[None]:
        process = subprocess.Popen([sys.executable, "-m", "app", "project"], env=environment | switches, cwd=tmp_path)
        try:
            assert wait_until(lambda: answers_ok(ready), 60)
            yield
            process.terminate()
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
            process.wait()

    await rig.send(version("101", 1, (member("a", 0),)))
    with role(PROJECT_POSTGRES="false", PROJECT_REDIS="false"):
        assert await rig.pool.fetchval("SELECT count(*) FROM projection_positions") == 0
    with role(PROJECT_REDIS="false"):
        await rig.until_version("101", 1)
        await rig.send(version("101", 2))
        await rig.until_version("101", 2)
        assert await cached_version(cache, "101") == 0
    with role():
        await rig.until_cached("101", 2)
