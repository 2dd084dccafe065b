"""Tells those who wait when a pet's version, a job's end or a decision is readable. Used by `projections.own_writes`.

Postgres is asked for all of them together, a few times a second while anybody waits: however many wait, a process costs
it the same. It knows a version before the cache does, and the projector has nothing to do for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

from projections.decision_reader import DecisionKey, DecisionRow
from projections.within import within
from schemas.errors import RetryLater
from schemas.ids import job_key
from schemas.public import JobState
from schemas.telemetry import Gauge, Unmeasured

PERIOD: Final = 0.05
"""Seconds between two questions: an answer is readable some 50 ms behind its job's entry."""
MOST_WAITING: Final = 1_000

V = TypeVar("V")
_Key = str | UUID | DecisionKey


@dataclass(frozen=True, slots=True)
class JobNow:
    """A job's state, and the version that holds its images once it has ended, else 0."""

    state: JobState
    version: int


class AwaitedStore(Protocol):
    """Postgres; see `projections.reader.ClusterReader`. Raises `POSTGRES_ERRORS` while it is away."""

    async def last_versions(self, pet_ids: Collection[str]) -> dict[str, int]:
        """Each pet's last version, 0 for one that has none."""
        ...

    async def job_states(self, keys: Collection[UUID]) -> dict[UUID, JobNow]:
        """Those of the jobs that are known."""
        ...

    async def decisions(self, keys: Collection[DecisionKey]) -> dict[DecisionKey, DecisionRow]:
        """Those of the decisions that are known."""
        ...


class TooManyWaiting(RetryLater):
    """As many wait in this process as may."""


@dataclass(eq=False, slots=True)
class _Waiter:
    """`key`: the pet, the job or the decision. `enough`: whether what is known of it is what is waited for. `deadline`:
    loop time.
    """

    key: _Key
    enough: Callable[[Any], bool]
    deadline: float
    told: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Arrivals:
    """Waits for versions and jobs. `seconds`: how long one question may take. `most`: how many may wait."""

    def __init__(
        self,
        store: AwaitedStore,
        *,
        seconds: float,
        period: float = PERIOD,
        most: int = MOST_WAITING,
        waiting: Gauge | None = None,
    ) -> None:
        self._store = store
        self._seconds = seconds
        self._period = period
        self._most = most
        self._gauge: Gauge = waiting or Unmeasured()
        self._waiters: set[_Waiter] = set()
        self._came = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None

    async def version(self, pet_id: str, at_least: int, deadline: float) -> int:
        """The pet's last version, as soon as it is `at_least`; at `deadline` (loop time) whatever it is, 0 for none.

        Postgres is asked at least once. Raises `POSTGRES_ERRORS`, and TooManyWaiting.
        """
        known: int = await self._told(_Waiter(pet_id, lambda version: version >= at_least, deadline))
        return known

    async def job(
        self, pet_id: str, job_id: str, enough: Callable[[JobNow | None], bool], deadline: float
    ) -> JobNow | None:
        """The job, as soon as it is `enough`; at `deadline` whatever is known of it. Raises as `version`."""
        known: JobNow | None = await self._told(_Waiter(job_key(pet_id, job_id), enough, deadline))
        return known

    async def decision(self, pet_id: str, decision_id: str, deadline: float) -> DecisionRow | None:
        """What became of a decision, as soon as it is known; None at `deadline`. Raises as `version`."""
        known: DecisionRow | None = await self._told(
            _Waiter((pet_id, decision_id), lambda row: row is not None, deadline)
        )
        return known

    async def _told(self, waiter: _Waiter) -> Any:
        if len(self._waiters) >= self._most:
            raise TooManyWaiting(f"{self._most} requests wait already")
        self._waiters.add(waiter)
        self._came.set()
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._run())
        self._gauge.set(len(self._waiters))
        try:
            return await waiter.told
        finally:
            self._waiters.discard(waiter)
            self._gauge.set(len(self._waiters))

    async def _run(self) -> None:
        """Ask until nobody waits. Who comes while a question is under way is answered by the next one."""
        while self._waiters:
            self._came.clear()
            asked = tuple(self._waiters)
            try:
                known = await within(self._seconds, self._ask(asked))
            except Exception as error:  # whatever it is: those who wait must not wait for ever
                for waiter in asked:
                    _settle(waiter, error=error)
            else:
                now = asyncio.get_running_loop().time()
                for waiter in asked:
                    if waiter.enough(known.get(waiter.key)) or now >= waiter.deadline:
                        _settle(waiter, known.get(waiter.key))
            self._waiters.difference_update(waiter for waiter in asked if waiter.told.done())
            if self._waiters:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._came.wait(), self._period)

    async def _ask(self, asked: Collection[_Waiter]) -> Mapping[_Key, Any]:
        pets = {waiter.key for waiter in asked if isinstance(waiter.key, str)}
        jobs = {waiter.key for waiter in asked if isinstance(waiter.key, UUID)}
        decisions = {waiter.key for waiter in asked if isinstance(waiter.key, tuple)}
        versions: dict[Any, Any] = await self._store.last_versions(pets) if pets else {}
        states: dict[Any, Any] = await self._store.job_states(jobs) if jobs else {}
        settled: dict[Any, Any] = await self._store.decisions(decisions) if decisions else {}
        return {**versions, **states, **settled}


def _settle(waiter: _Waiter, known: Any = None, error: Exception | None = None) -> None:
    if waiter.told.done():  # it has left
        return
    if error is not None:
        waiter.told.set_exception(error)
    else:
        waiter.told.set_result(known)
