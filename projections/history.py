"""What the web views read about the past: a pet's versions, the answers at them, and what changed between two.

A question of several statements is asked in one snapshot, so that no version and no round of retention comes between.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

import msgspec

from projections.answers import read_at
from projections.cursors import INT64_MAX, pack, unpack, whole_number
from projections.difference import ClusterDifference, ImageDifference, read_difference
from projections.lineage import LineageRow, read_lineage
from projections.members import MemberPage, PlaceRow, read_members, read_places
from projections.missing import Missing, missing_version
from projections.queries import load
from projections.why import WhyRow, read_why
from schemas.answers import ClusterAnswer
from schemas.errors import InvalidInput
from schemas.headers import timestamp

MAX_PAGE: Final = 500


class VersionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One version, without its clusters. `job_id`: whose images made it; `log_partition`, `log_offset`: its fact."""

    version: int
    updated_at: str
    cluster_count: int
    image_count: int
    unclustered_count: int
    job_id: str
    model: str
    policy_id: str
    log_partition: int
    log_offset: int


class PetDifference(msgspec.Struct, frozen=True, kw_only=True):
    """What led from one version to another: a page of it, clusters by number, behind the last of them images by id."""

    pet_id: str
    earlier: VersionRow = msgspec.field(name="from")
    later: VersionRow = msgspec.field(name="to")
    clusters: list[ClusterDifference]
    images: list[ImageDifference]


class HistoryReader:
    """Reads on an asyncpg pool. Every method raises asyncpg's or OSError's errors while Postgres is away, Missing for
    what is not there, and InvalidInput for a limit or a cursor that is not valid.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def answer_at(self, pet_id: str, version: int) -> ClusterAnswer:
        """The answer as it was at a version."""
        async with self._snapshot() as connection:
            return await _answer(connection, pet_id, version)

    async def answer_as_of(self, pet_id: str, moment: datetime) -> ClusterAnswer:
        """The answer at the version that the pet had at a time, by the times of the facts (`updated_at`)."""
        async with self._snapshot() as connection:
            row = await connection.fetchrow(load("read_version_as_of"), pet_id, moment)
            last = await connection.fetchval(load("read_last_version"), pet_id)
            if last == 0:
                raise Missing("pet")
            if row is None:
                raise await _no_version_yet(connection, pet_id, moment)
            if row["version"] < last and not row["followed"]:
                # A removed version may have taken over before that time.
                raise Missing("removed")
            return await _answer(connection, pet_id, row["version"])

    async def versions(self, pet_id: str, limit: int, cursor: str | None = None) -> tuple[list[VersionRow], str | None]:
        """A page of the pet's versions, newest first, and the cursor of the next."""
        check_limit(limit)
        before = whole_number(unpack(cursor, 1)[0]) if cursor else INT64_MAX
        rows = await self._pool.fetch(load("list_versions"), pet_id, before, limit + 1)
        if not rows and cursor is None:
            raise Missing("pet")
        versions = [_version(row) for row in rows[:limit]]
        return versions, pack(versions[-1].version) if len(rows) > limit else None

    async def difference(
        self, pet_id: str, earlier: int, later: int, limit: int, cursor: str | None = None
    ) -> tuple[PetDifference, str | None]:
        """A page of what led from version `earlier` to `later`, and the cursor of the next."""
        check_limit(limit)
        if earlier > later:
            raise InvalidInput("from", f"must not be larger than `to`, got {earlier} and {later}")
        async with self._snapshot() as connection:
            ends = [await _read_version(connection, pet_id, version) for version in (earlier, later)]
            found, following = await read_difference(connection, pet_id, (earlier, later), limit, cursor)
        page = PetDifference(
            pet_id=pet_id, earlier=ends[0], later=ends[1], clusters=found.clusters, images=found.images
        )
        return page, following

    async def members(
        self, pet_id: str, number: int, version: int | None, limit: int, cursor: str | None = None
    ) -> MemberPage:
        """A page of a cluster's members at a version, best recorded score first; of the unclustered images for -1.

        `version` None: the cursor's, or the last. All pages of one list thus are of one version.
        """
        check_limit(limit)
        async with self._snapshot() as connection:
            return await read_members(connection, pet_id, number, version, limit, cursor)

    async def places(
        self, pet_id: str, image_id: str, limit: int, cursor: str | None = None
    ) -> tuple[list[PlaceRow], str | None]:
        """A page of the clusters in which an image lay, the present one first, and the cursor of the next."""
        check_limit(limit)
        return await read_places(self._pool, pet_id, image_id, limit, cursor)

    async def why(self, pet_id: str, image_id: str, version: int | None) -> WhyRow:
        """Why an image lies where it lies at a version; None: the last."""
        async with self._snapshot() as connection:
            return await read_why(connection, pet_id, image_id, version)

    async def lineage(self, pet_id: str, number: int) -> LineageRow:
        """Where a cluster comes from, how it was called, and what became of it."""
        async with self._snapshot() as connection:
            return await read_lineage(connection, pet_id, number)

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[Any]:
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection


def check_limit(limit: int) -> None:
    """Raises InvalidInput for a limit that no page has."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInput("limit", f"must be between 1 and {MAX_PAGE}, got {limit}")


async def _answer(connection: Any, pet_id: str, version: int) -> ClusterAnswer:
    answer = await read_at(connection, pet_id, version)
    if answer is None:
        raise await missing_version(connection, pet_id, version)
    return answer


async def _read_version(connection: Any, pet_id: str, version: int) -> VersionRow:
    row = await connection.fetchrow(load("read_version"), pet_id, version)
    if row is None:
        raise await missing_version(connection, pet_id, version)
    return _version(row)


async def _no_version_yet(connection: Any, pet_id: str, moment: datetime) -> Missing:
    """Why a pet has no version at a time before all that are kept."""
    purge = await connection.fetchrow(load("read_purged_version"), pet_id)
    if purge is not None and moment < purge["purged_at"]:
        return Missing("purged")
    first = await connection.fetchrow(load("read_version"), pet_id, 1 if purge is None else purge["last_version"] + 1)
    if first is None:
        return Missing("removed")
    return Missing("version", f"The first version is of {timestamp(first['updated_at'])}.")


def _version(row: Any) -> VersionRow:
    return VersionRow(**{**dict(row), "updated_at": timestamp(row["updated_at"])})
