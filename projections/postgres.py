"""Versions, as rows. Called by `projections.runner` with a connection that is inside a transaction; so is a rebuild.

A version is at most six statements, however many images it names, and only version = last + 1 is applied.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Final

from projections.answers import read_latest
from projections.changes import Changes, changes_of
from projections.queries import load
from schemas.answers import encode_answer
from schemas.versions import PetVersion

SNAPSHOT_EVERY: Final = 64
SNAPSHOT_CODEC: Final = "zlib+json"


@dataclass(frozen=True, slots=True)
class Applied:
    """The rows now stand at `version`."""

    version: int


@dataclass(frozen=True, slots=True)
class Ignored:
    """The rows stood at `last` already; nothing changed."""

    last: int


@dataclass(frozen=True, slots=True)
class Purged(Ignored):
    """The version is not newer than a purge of the pet, whose last version is `last`; nothing changed."""


@dataclass(frozen=True, slots=True)
class Gap:
    """The rows stand at `last`, versions between are missing; nothing changed."""

    last: int


async def apply_version(connection: Any, version: PetVersion) -> Applied | Ignored | Gap:
    """Write what `version` changed, if it follows the pet's last one.

    Of two writers of one version the second waits for the first one's transaction and then changes no row. Raises
    InvalidInput when a value of the message cannot stand in its column.
    """
    changes = changes_of(version)
    if await connection.execute(load("insert_version"), *changes.version_row) != "INSERT 0 1":
        last, purged = await connection.fetchrow(load("read_numbers_taken"), version.pet_id)
        if version.version <= purged:
            return Purged(purged)
        return Ignored(last) if version.version <= last else Gap(max(last, purged))
    await _write_changes(connection, changes)
    if version.version % SNAPSHOT_EVERY == 0:
        await _write_snapshot(connection, version.pet_id)
    return Applied(version.version)


async def _write_changes(connection: Any, changes: Changes) -> None:
    """Moves and merges first, then members, then clusters and heroes, as `schemas.versions` prescribes."""
    images, numbers, merged_into = changes.closed
    if changes.moves[0]:
        await connection.execute(
            load("move_components"), changes.key, changes.pet_id, changes.version, *changes.moves, images
        )
    if changes.merges[0]:
        await connection.execute(
            load("move_merged_members"), changes.key, changes.pet_id, changes.version, *changes.merges, images
        )
    if images or numbers:
        await connection.execute(
            load("close_rows"), changes.pet_id, changes.version, images, numbers, merged_into, *changes.heroes
        )
    if changes.members[0] or changes.summaries[0]:
        await connection.execute(
            load("open_rows"),
            changes.key,
            changes.pet_id,
            changes.version,
            changes.version_row[-1],
            *changes.members,
            *changes.summaries,
            *changes.heroes,
        )


async def _write_snapshot(connection: Any, pet_id: str) -> None:
    """Keep the whole answer now and then, for audits and for starting a look back without the rows before."""
    answer = await read_latest(connection, pet_id)
    assert answer is not None, "the version's row was inserted in this transaction"
    await connection.execute(
        load("insert_snapshot"), pet_id, answer.version, SNAPSHOT_CODEC, zlib.compress(encode_answer(answer))
    )
