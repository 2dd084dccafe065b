"""What the web views read from Postgres. A view never folds and never writes here."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from projections.answers import read_at, read_latest
from projections.arrivals import JobNow
from projections.cursors import decode_cursor, encode_cursor
from projections.decision_reader import DecisionKey, DecisionRow, read_decisions
from projections.queries import load
from schemas.answers import ClusterAnswer
from schemas.errors import InvalidInput
from schemas.headers import timestamp
from schemas.public import FailedImageReport, JobState

MAX_PAGE: Final = 500
_failed_images = msgspec.json.Decoder(tuple[FailedImageReport, ...])


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """A job as the views show it: its last `run`, in which `attempts` counts from 1. Times are RFC 3339, None when not
    reached. `cursor` leads to the older jobs.
    """

    id: str
    pet_id: str
    job_id: str
    status: JobState
    attempts: int
    last_error: str | None
    enqueued_at: str
    started_at: str | None
    completed_at: str | None
    image_count: int
    placed: int
    known: int
    failed: int
    failed_images: tuple[FailedImageReport, ...]
    version: int
    reason: str
    source: str
    run: int
    cursor: str


class ClusterReader:
    """Reads on an asyncpg pool. Every method raises asyncpg's or OSError's errors while Postgres is away."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def latest_answer(self, pet_id: str) -> ClusterAnswer | None:
        """The answer at the pet's last version; None for a pet never clustered."""
        async with self._pool.acquire() as connection:
            return await read_latest(connection, pet_id)

    async def answer_at(self, pet_id: str, version: int) -> ClusterAnswer | None:
        """The answer as it was at `version`; None when the pet never had it."""
        if not 1 <= version < 2**63:
            return None
        async with self._pool.acquire() as connection:
            return await read_at(connection, pet_id, version)

    async def jobs_of_pet(self, pet_id: str, limit: int, before_cursor: str | None = None) -> list[JobRow]:
        """A page of the pet's jobs, newest first. Raises InvalidInput for a bad `limit` or cursor."""
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidInput("limit", f"must be between 1 and {MAX_PAGE}, got {limit}")
        before, key = decode_cursor(before_cursor) if before_cursor else (None, None)
        rows = await self._pool.fetch(load("list_jobs_of_pet"), pet_id, before, key, limit)
        return [_job(row) for row in rows]

    async def jobs_by_status(self, status: JobState, limit: int, before_cursor: str | None = None) -> list[JobRow]:
        """A page of all pets' jobs that have this state now, newest first. Raises InvalidInput as `jobs_of_pet`."""
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidInput("limit", f"must be between 1 and {MAX_PAGE}, got {limit}")
        before, key = decode_cursor(before_cursor) if before_cursor else (None, None)
        rows = await self._pool.fetch(load("list_jobs_by_status"), status, before, key, limit)
        return [_job(row) for row in rows]

    async def jobs_by_id(self, job_id: str, pet_id: str | None = None) -> list[JobRow]:
        """The jobs that carry this id, newest first: of one pet at most one, without `pet_id` of up to 100 pets."""
        return [_job(row) for row in await self._pool.fetch(load("list_jobs_by_id"), job_id, pet_id)]

    async def last_versions(self, pet_ids: Collection[str]) -> dict[str, int]:
        """Each pet's last version, 0 for one that has none."""
        rows = await self._pool.fetch(load("read_last_versions"), list(pet_ids))
        return {row["pet_id"]: row["version"] for row in rows}

    async def job_states(self, keys: Collection[UUID]) -> dict[UUID, JobNow]:
        """The jobs that are known among these, by `schemas.ids.job_key`."""
        rows = await self._pool.fetch(load("read_job_states"), list(keys))
        return {row["id"]: JobNow(row["status"], row["version"]) for row in rows}

    async def decisions(self, keys: Collection[DecisionKey]) -> dict[DecisionKey, DecisionRow]:
        """The decisions that are known among these."""
        return await read_decisions(self._pool, keys)

    async def ping(self) -> None:
        """Returns when Postgres answers."""
        await self._pool.fetchval("SELECT 1")


def _job(row: Any) -> JobRow:
    return JobRow(
        id=str(row["id"]),
        pet_id=row["pet_id"],
        job_id=row["job_id"],
        status=row["status"],
        attempts=row["attempts"],
        last_error=row["last_error"],
        enqueued_at=timestamp(row["enqueued_at"]),
        started_at=_optional(row["started_at"]),
        completed_at=_optional(row["completed_at"]),
        image_count=row["image_count"],
        placed=row["placed"],
        known=row["known"],
        failed=row["failed"],
        failed_images=_failed_images.decode(row["failed_images"]),
        version=row["version"],
        reason=row["reason"],
        source=row["source"],
        run=row["run"],
        cursor=encode_cursor(row["enqueued_at"], row["id"]),
    )


def _optional(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)
