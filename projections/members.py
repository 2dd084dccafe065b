"""Members of a cluster, page by page, and the clusters that an image lay in. Called by the reader of history."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import msgspec

from projections.cursors import INT64_MAX, foreign_cursor, pack, unpack, whole_number
from projections.missing import MergedAway, Missing, missing_version
from projections.queries import load
from schemas.errors import InvalidInput
from schemas.headers import timestamp
from schemas.ids import UNCLUSTERED, cluster_id, is_id


class PlacedBy(msgspec.Struct, frozen=True, kw_only=True):
    """What a member's row keeps beside its columns; see `projections.changes`."""

    rule: str = ""
    quality: float = 0.0
    width: int = 0
    height: int = 0
    taken_at: str = ""
    runner_up: int = UNCLUSTERED
    runner_up_score: float = 0.0
    component: int = -1
    membership: float = -1.0
    duplicate_of: str = ""
    decision: str = ""


class MemberRow(msgspec.Struct, frozen=True, kw_only=True):
    """A member. `score`: as recorded when it was placed, by `rule`, at `since_version`; `runner_up`: the next-best
    cluster then. `quality`, `width`, `height`, `taken_at`: of the image.
    """

    image_id: str
    score: float
    rule: str
    since_version: int
    runner_up: str | None
    runner_up_score: float
    quality: float
    width: int
    height: int
    taken_at: str


class PlaceRow(msgspec.Struct, frozen=True, kw_only=True):
    """Where an image lay from `since_version` on and before `until_version` (null: now); `cluster` null for none.

    `since`: the time of that version, null when retention removed it.
    """

    cluster: str | None
    since_version: int
    until_version: int | None
    since: str | None
    score: float
    rule: str
    runner_up: str | None
    runner_up_score: float


class MemberPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a cluster's members at `version`, of `member_count` in all; `cursor` leads on, None at the end."""

    version: int
    member_count: int
    members: list[MemberRow]
    cursor: str | None


decode_placed_by = msgspec.json.Decoder(PlacedBy).decode


async def read_members(
    connection: Any, pet_id: str, number: int, version: int | None, limit: int, cursor: str | None
) -> MemberPage:
    """See `HistoryReader.members`; the connection is in a snapshot."""
    pinned, score, image_id = _position(number, cursor)
    if version is not None and pinned is not None and version != pinned:
        raise InvalidInput("cursor", f"is of version {pinned}, not of {version}")
    last = await connection.fetchval(load("read_last_version"), pet_id)
    chosen = version or pinned or last
    count = await count_members(connection, pet_id, number, chosen)
    arguments = (pet_id, number, score, image_id, limit + 1)
    if chosen == last:
        rows = await connection.fetch(load("list_members_now"), *arguments)
    else:
        rows = await connection.fetch(load("list_members_at"), *arguments, chosen)
    end = rows[limit - 1] if len(rows) > limit else None
    return MemberPage(
        version=chosen,
        member_count=count,
        members=[_member(pet_id, row) for row in rows[:limit]],
        cursor=pack(chosen, number, end["score"], end["image_id"]) if end is not None else None,
    )


async def read_places(
    pool: Any, pet_id: str, image_id: str, limit: int, cursor: str | None
) -> tuple[list[PlaceRow], str | None]:
    """See `HistoryReader.places`."""
    before = whole_number(unpack(cursor, 1)[0]) if cursor else INT64_MAX
    rows = await pool.fetch(load("list_places_of_image"), pet_id, image_id, before, limit + 1)
    if not rows and cursor is None:
        raise Missing("image")
    places = [_place(pet_id, row) for row in rows[:limit]]
    return places, pack(places[-1].since_version) if len(rows) > limit else None


async def count_members(connection: Any, pet_id: str, number: int, version: int) -> int:
    """How many members the cluster has at the version. Raises Missing, MergedAway for one that has a successor."""
    row = await connection.fetchrow(load("read_version"), pet_id, version)
    if row is None:
        raise await missing_version(connection, pet_id, version)
    if number == UNCLUSTERED:
        return int(row["unclustered_count"])
    cluster = await connection.fetchrow(load("read_cluster_row"), pet_id, number, version)
    if cluster is None:
        raise Missing("cluster")
    until = cluster["until_version"]
    if until is None or until > version:
        return int(cluster["member_count"])
    heir = cluster["merged_into"]
    raise Missing("cluster") if heir is None else MergedAway(cluster_id(pet_id, heir), until)


def _position(number: int, cursor: str | None) -> tuple[int | None, float, str]:
    """The version that the cursor's list is of, and the member behind which its page begins."""
    if not cursor:
        return None, math.inf, ""
    version, cluster, score, image_id = unpack(cursor, 4)
    if cluster != str(number) or not is_id(image_id):
        raise foreign_cursor()
    return whole_number(version, least=1), _score(score), image_id


def _score(text: str) -> float:
    try:
        score = float(text)
    except ValueError as error:
        raise foreign_cursor() from error
    if not math.isfinite(score):
        raise foreign_cursor()
    return score


def _member(pet_id: str, row: Any) -> MemberRow:
    placed = decode_placed_by(row["metadata"])
    return MemberRow(
        image_id=row["image_id"],
        score=row["score"],
        rule=placed.rule,
        since_version=row["since_version"],
        runner_up=_named(pet_id, placed.runner_up),
        runner_up_score=placed.runner_up_score,
        quality=placed.quality,
        width=placed.width,
        height=placed.height,
        taken_at=placed.taken_at,
    )


def _place(pet_id: str, row: Any) -> PlaceRow:
    placed, since = decode_placed_by(row["metadata"]), row["since"]
    return PlaceRow(
        cluster=_named(pet_id, row["cluster_number"]),
        since_version=row["since_version"],
        until_version=row["until_version"],
        since=timestamp(since) if isinstance(since, datetime) else None,
        score=row["score"],
        rule=placed.rule,
        runner_up=_named(pet_id, placed.runner_up),
        runner_up_score=placed.runner_up_score,
    )


def _named(pet_id: str, number: int) -> str | None:
    return None if number == UNCLUSTERED else cluster_id(pet_id, number)
