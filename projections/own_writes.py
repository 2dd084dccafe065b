"""Lets a caller read what it has written: the answer at a version, or behind the end of a job. Used by the views."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from msgspec.structs import replace

from projections.arrivals import Arrivals, JobNow
from projections.away import POSTGRES_ERRORS
from projections.decision_reader import DecisionRow
from projections.jobs import has_ended
from projections.read_through import Read, ReadThrough
from schemas.public import JobState
from schemas.telemetry import Histogram, Unmeasured

T = TypeVar("T")


class NotReached(Exception):
    """The wait is over and the pet stands at `version`, below the one that was asked for."""

    def __init__(self, version: int) -> None:
        super().__init__(f"the pet stands at version {version}")
        self.version = version


class JobUnknown(Exception):
    """The wait is over and no job of the pet has this id."""


class JobUnfinished(Exception):
    """The wait is over and the job is in `state`."""

    def __init__(self, state: JobState) -> None:
        super().__init__(f"the job is {state}")
        self.state = state


class OwnWrites:
    """Reads through the cache, and past it where it is behind. `waits`: seconds of each wait, whatever its end."""

    def __init__(self, answers: ReadThrough, arrivals: Arrivals, waits: Histogram | None = None) -> None:
        self._answers = answers
        self._arrivals = arrivals
        self._waits: Histogram = waits or Unmeasured()

    async def read(self, pet_id: str, *, at_least: int = 0, job_id: str | None = None, seconds: float) -> Read:
        """The current answer, not older than version `at_least` nor than the end of the job; waits up to `seconds`.

        A failed job is an end too: its state is in the answer. A pet without clusters is told as one by `read_through`.
        Raises NotReached, JobUnknown, JobUnfinished, TooManyWaiting, and `POSTGRES_ERRORS` when Postgres is needed and
        does not answer.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        if job_id is None:
            return await self._at_least(pet_id, at_least, deadline)
        job = await self._arrived(self._arrivals.job(pet_id, job_id, _ended, deadline))
        if job is None:
            raise JobUnknown
        if not _ended(job):
            raise JobUnfinished(job.state)
        return replace(await self._at_least(pet_id, max(at_least, job.version), deadline), job=job.state)

    async def decision(self, pet_id: str, decision_id: str, *, seconds: float) -> DecisionRow | None:
        """What became of a decision, None when that is not known after `seconds`. Raises TooManyWaiting, and
        `POSTGRES_ERRORS` when Postgres does not answer.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        return await self._arrived(self._arrivals.decision(pet_id, decision_id, deadline))

    async def _at_least(self, pet_id: str, at_least: int, deadline: float) -> Read:
        read = await self._answers.read(pet_id, at_least)
        if read.version >= at_least:
            return read
        reached = await self._arrived(self._arrivals.version(pet_id, at_least, deadline))
        if reached >= at_least:
            # The first of these queries may be another caller's, begun before the version came; not so the second.
            for _ in range(2):
                read = await self._answers.read(pet_id, at_least)
                if read.version >= at_least:
                    return read
            reached = read.version
        if reached == 0:
            return replace(read, answer=None, version=0)
        raise NotReached(reached)

    async def _arrived(self, waited: Coroutine[Any, Any, T]) -> T:
        began = asyncio.get_running_loop().time()
        try:
            self._answers.refuse_while_away()
            return await waited
        except POSTGRES_ERRORS:
            self._answers.suspect_store()
            raise
        finally:
            waited.close()  # else one that was refused would be told as never awaited
            self._waits.observe(asyncio.get_running_loop().time() - began)


def _ended(job: JobNow | None) -> bool:
    return job is not None and has_ended(job.state)
