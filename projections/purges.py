"""Receipts of purges, to read, and the one thing that is added to them later. Used by the views, the command line and
`projections.refresh`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from projections.queries import load
from schemas.headers import timestamp


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that a purge has removed, by table in `postgres`."""

    postgres: dict[str, int] = {}


class PurgeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A purge. Times are RFC 3339, None when not reached. While it is `pending`, only what was asked for is known.

    `accepted_until`: jobs accepted up to then are ignored. `last_version`: the pet's next version is one more.
    `log_partition`, `log_offset`: of the fact. `cache_removed_at`: when the cached answer was seen to be gone.
    """

    pet_id: str
    purge_id: str
    status: Literal["pending", "purged"]
    accepted_until: str
    who: str
    why: str
    purged_at: str | None = None
    last_version: int | None = None
    log_partition: int | None = None
    log_offset: int | None = None
    removed: Removed | None = None
    cache_removed_at: str | None = None


class PurgeRecords:
    """On an asyncpg pool, which raises asyncpg's or OSError's errors while Postgres is away."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def find(self, pet_id: str, purge_id: str) -> PurgeRow | None:
        """A purge of the pet; None when none of this id is known."""
        row = await self._pool.fetchrow(load("read_purge"), pet_id, purge_id)
        return None if row is None else _purge(row)

    async def knows(self, pet_id: str) -> bool:
        """Whether any row tells of the pet."""
        known: bool = await self._pool.fetchval(load("knows_pet"), pet_id)
        return known

    async def position(self, pet_id: str) -> tuple[int, int] | None:
        """(live generation, last purged version); None for a pet that was never purged."""
        row = await self._pool.fetchrow(load("read_purged_version"), pet_id)
        return None if row is None else (row["generation"], row["last_version"])

    async def note_cache_removed(self, pet_id: str) -> None:
        """Add to the pet's receipts that its cached answer is gone."""
        await self._pool.execute(load("note_cache_removed"), pet_id)


def _purge(row: Any) -> PurgeRow:
    return PurgeRow(
        pet_id=row["pet_id"],
        purge_id=row["purge_id"],
        status="pending" if row["purged_at"] is None else "purged",
        accepted_until=timestamp(row["accepted_until"]),
        who=row["who"],
        why=row["why"],
        purged_at=_optional(row["purged_at"]),
        last_version=row["last_version"],
        log_partition=row["log_partition"],
        log_offset=row["log_offset"],
        removed=None if row["removed"] is None else msgspec.json.decode(row["removed"], type=Removed),
        cache_removed_at=_optional(row["cache_removed_at"]),
    )


def _optional(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)
