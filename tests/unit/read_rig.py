"""Stores in memory that fail, hang and count, and reads through them. For the tests of current answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from uuid import UUID

from redis.exceptions import ConnectionError as RedisConnectionError

from projections.arrivals import Arrivals, JobNow
from projections.cache import CachedAnswer, stored_position
from projections.decision_reader import DecisionKey, DecisionRow
from projections.own_writes import OwnWrites
from projections.read_through import ReadMetrics, ReadThrough
from schemas.answers import AnswerMetrics, ClusterAnswer, encode_answer
from schemas.ids import job_key
from schemas.public import JobState
from schemas.telemetry import Counter

PET = "101"
DEADLINE_SECONDS = 10.0


def answer(version: int, generation: int = 1) -> ClusterAnswer:
    return ClusterAnswer(
        pet_id=PET, clusters=(), metrics=AnswerMetrics({}, None, "t"), updated_at="t", image_count=0,
        unclustered_count=0, unclustered=(), generation=generation, version=version,
    )  # fmt: skip


@dataclass
class Door:
    """What each call passes: it may be shut by an error, or held until it is opened."""

    error: Exception | None = None
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    calls: int = 0

    def __post_init__(self) -> None:
        self.opened.set()

    async def passed(self) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error
        await self.opened.wait()


@dataclass
class FakeStore:
    """Postgres. A read has what stood there when it began, as a statement's snapshot has."""

    last: int = 0
    jobs: dict[UUID, JobNow] = field(default_factory=dict)
    settled: dict[DecisionKey, DecisionRow] = field(default_factory=dict)
    reads: Door = field(default_factory=Door)
    questions: Door = field(default_factory=Door)
    pings: Door = field(default_factory=Door)

    def end(self, job_id: str, state: JobState, version: int = 0) -> None:
        self.jobs[job_key(PET, job_id)] = JobNow(state, version)

    def shut(self, error: Exception | None) -> None:
        self.reads.error = self.questions.error = self.pings.error = error

    async def latest_answer(self, pet_id: str) -> ClusterAnswer | None:
        found = answer(self.last) if self.last else None
        await self.reads.passed()
        return found

    async def last_versions(self, pet_ids: Collection[str]) -> dict[str, int]:
        found = dict.fromkeys(pet_ids, self.last)
        await self.questions.passed()
        return found

    async def job_states(self, keys: Collection[UUID]) -> dict[UUID, JobNow]:
        found = {key: self.jobs[key] for key in keys if key in self.jobs}
        await self.questions.passed()
        return found

    async def decisions(self, keys: Collection[DecisionKey]) -> dict[DecisionKey, DecisionRow]:
        found = {key: self.settled[key] for key in keys if key in self.settled}
        await self.questions.passed()
        return found

    async def ping(self) -> None:
        await self.pings.passed()


@dataclass
class FakeCache:
    """Redis."""

    held: dict[str, bytes] = field(default_factory=dict)
    calls: Door = field(default_factory=Door)

    def shut(self) -> None:
        self.calls.error = RedisConnectionError("away")

    async def find(self, pet_id: str) -> CachedAnswer | None:
        await self.calls.passed()
        answer = self.held.get(pet_id)
        position = stored_position(answer or b"")
        return CachedAnswer(answer, position[1]) if answer and position else None

    async def put(self, pet_id: str, answer: bytes, generation: int, version: int) -> bool:
        await self.calls.passed()
        self.held[pet_id] = answer
        return True

    async def ping(self) -> None:
        await self.calls.passed()


class Counts:
    """Counters by label."""

    def __init__(self) -> None:
        self.of: dict[str, float] = {}

    def __call__(self, label: str) -> Counter:
        counts = self.of

        class _One:
            def inc(self, amount: float = 1) -> None:
                counts[label] = counts.get(label, 0) + amount

        return _One()


@dataclass
class Reads:
    """Everything together; `answers` is not started, so that it pings only in tests that want it."""

    store: FakeStore = field(default_factory=FakeStore)
    cache: FakeCache = field(default_factory=FakeCache)
    counts: Counts = field(default_factory=Counts)
    most_waiting: int = 1_000

    def __post_init__(self) -> None:
        self.answers = ReadThrough(
            store=self.store,
            cache=self.cache,
            cache_seconds=0.05,
            store_seconds=0.2,
            metrics=ReadMetrics(reads=self.counts),
            period=0.01,
        )
        self.arrivals = Arrivals(self.store, seconds=0.2, period=0.001, most=self.most_waiting)
        self.own_writes = OwnWrites(self.answers, self.arrivals)

    def cached(self, version: int) -> None:
        self.cache.held[PET] = encode_answer(answer(version))


async def eventually(condition: Callable[[], bool]) -> None:
    """Until it holds."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.001)
