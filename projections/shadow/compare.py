"""What differs between the live rows and the shadow's, pet by pet, at a version that both have.

Rows that one side has left out are left out, as retention does in the live tables: a pet is compared from the oldest
version on that both have.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from projections.queries import load
from projections.shadow.schema import LIVE

PETS_AT_A_TIME: Final = 500
PARTS: Final = ("versions", "members", "heroes", "summaries", "decisions")


@dataclass(frozen=True, slots=True)
class Difference:
    """A pet whose rows differ. `parts`: in which tables; `first_version`: from which version on; 0: one side lacks it.

    `live`, `shadow`: digests of all its rows.
    """

    pet_id: str
    parts: tuple[str, ...]
    first_version: int
    live: str
    shadow: str


@dataclass(slots=True)
class Comparison:
    """`pets`: how many were compared. `differences`: at most `LISTED`; `differing`: how many there are."""

    pets: int
    differing: int
    differences: list[Difference]


LISTED: Final = 20


async def compare(connection: Any, shadow: str) -> Comparison:
    """Compare every pet. Reads both schemas in one snapshot; the live projector goes on meanwhile."""
    found = Comparison(0, 0, [])
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        async for bounds in _pets(connection, shadow):
            await _compare_some(connection, shadow, bounds, found)
    return found


async def compare_pet(connection: Any, shadow: str, pet_id: str) -> Comparison:
    """Compare one pet, inside the caller's transaction."""
    found = Comparison(0, 0, [])
    live, theirs = [await connection.fetchrow(_bounds(name), pet_id) for name in (LIVE, shadow)]
    if live["last"] is None or theirs["last"] is None:
        bounds = (pet_id, 0, 0)
    else:
        bounds = (pet_id, max(live["oldest"], theirs["oldest"]), min(live["last"], theirs["last"]))
    await _compare_some(connection, shadow, [bounds], found)
    return found


async def _pets(connection: Any, shadow: str) -> AsyncIterator[list[tuple[str, int, int]]]:
    """(pet, oldest live version, last common version), some at a time, in order; without those that one side has yet
    to purge.
    """
    after = ""
    while True:
        statement = load("list_pets_to_compare").replace("{shadow}", shadow).replace("{live}", LIVE)
        rows = await connection.fetch(statement, after, PETS_AT_A_TIME)
        if not rows:
            return
        after = rows[-1]["pet_id"]
        yield [(row["pet_id"], row["oldest"] or 0, row["common"] or 0) for row in rows if not row["purged_apart"]]


async def _compare_some(connection: Any, shadow: str, bounds: list[tuple[str, int, int]], found: Comparison) -> None:
    if not bounds:
        return
    arguments = [list(column) for column in zip(*bounds, strict=True)]
    live, theirs = [
        {row["pet_id"]: row for row in await connection.fetch(_digests(schema), *arguments)}
        for schema in (LIVE, shadow)
    ]
    for pet_id, oldest, common in bounds:
        found.pets += 1
        parts = tuple(part for part in PARTS if live[pet_id][part] != theirs[pet_id][part])
        if common and not parts:
            continue
        found.differing += 1
        if len(found.differences) < LISTED:
            first = await _first_version(connection, shadow, pet_id, oldest, common) if common else 0
            digests = ("".join((row[part] or "")[:8] for part in PARTS) for row in (live[pet_id], theirs[pet_id]))
            found.differences.append(Difference(pet_id, parts or PARTS, first, *digests))


async def _first_version(connection: Any, shadow: str, pet_id: str, oldest: int, common: int) -> int:
    """The lowest version at which the two differ, by halving: digests up to a version tell whether it lies below."""
    low, high = oldest, common
    while low < high:
        middle = (low + high) // 2
        bounds = [pet_id], [oldest], [middle]
        live, theirs = [await connection.fetchrow(_digests(schema), *bounds) for schema in (LIVE, shadow)]
        low, high = (middle + 1, high) if tuple(live) == tuple(theirs) else (low, middle)
    return low


def _digests(schema: str) -> str:
    return load("digest_pets").replace("{schema}", schema)


def _bounds(schema: str) -> str:
    return load("read_pet_bounds").replace("{schema}", schema).replace("{live}", LIVE)
