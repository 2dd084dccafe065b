"""A pet's rows in Postgres against the rows that its versions come to. Pure; used by `partition`.

Both are compared as they stood at the last version that both have, so that it does not matter which of them is ahead.
Retention keeps versions m…n without a gap, and pinned ones below; rows stay while they held at one of those. So of what
ended before, rows may be there or not, and a version missing below the lowest one cannot be told from a trimmed one.
What is there must be right, whatever its age.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from projections.bulk_rows import VERSIONED, Row
from projections.postgres import SNAPSHOT_CODEC, SNAPSHOT_EVERY
from projections.verify.findings import NOTHING, Difference, first_difference, short
from schemas.answers import ClusterAnswer

KEYS: Final[dict[str, tuple[str, ...]]] = {
    "pet_clusters": ("version",),
    "cluster_members": ("image_id", "cluster_id"),
    "cluster_heroes": ("image_id", "cluster_id"),
    "cluster_summaries": ("cluster_number", "since_version"),
}
"""Table → the columns that name a row of a pet; the first is what an operator knows it by."""
JSON: Final = ("metrics", "metadata", "parts")
ENDS: Final = ("until_version", "merged_into")
"""Columns that a later version writes."""


@dataclass(frozen=True, slots=True)
class LiveRows:
    """What Postgres holds of a pet, in one snapshot. `must`: below this log offset it must hold everything."""

    rows: dict[str, list[Row]]
    snapshots: list[tuple[int, str, bytes]]
    pinned: frozenset[int]
    generation: int
    must: int

    @property
    def versions(self) -> dict[int, int]:
        """Version → the log offset that its row names."""
        names = VERSIONED["pet_clusters"]
        return {row[names.index("version")]: row[names.index("log_offset")] for row in self.rows["pet_clusters"]}


def row_differences(
    expected: dict[str, list[Row]], live: LiveRows, common: int, answer: Callable[[int], ClusterAnswer]
) -> Iterator[Difference]:
    """What differs at version `common`, which both have. `answer`: the one at a version, for the snapshots."""
    there = sorted(version for version in live.versions if version <= common)
    unpinned = [version for version in there if version not in live.pinned]
    kept = _Kept(min(unpinned, default=common), frozenset(there) & live.pinned)
    for table, columns in VERSIONED.items():
        mine, theirs = [_at(table, columns, rows[table], common) for rows in (expected, live.rows)]
        for key in [*mine, *(key for key in theirs if key not in mine)]:
            if difference := _compare(table, key, mine.get(key), theirs.get(key), kept):
                yield difference
    yield from _snapshots(live, kept, common, answer)


def rows_without_version(live: LiveRows) -> Iterator[Difference]:
    """Rows that began or ended at a version behind the pet's last one: a version and its rows are one transaction."""
    last = max(live.versions, default=0)
    for table, columns in VERSIONED.items():
        for row in live.rows[table]:
            named = dict(zip(columns, row, strict=True))
            version = max(_version(named), named.get("until_version") or 0)
            if version > last:
                name = f"{table}[{named[KEYS[table][0]]}]"
                yield Difference(name, f"at most version {last}", f"a row of version {version}", last + 1)


@dataclass(frozen=True, slots=True)
class _Kept:
    """Versions `oldest` and later, and the pinned ones."""

    oldest: int
    pinned: frozenset[int]

    def needs(self, row: dict[str, Any]) -> bool:
        """Whether the row must be there."""
        if "version" in row:
            return bool(row["version"] >= self.oldest) or row["version"] in self.pinned
        since, until = row["since_version"], row["until_version"]
        return until is None or until > self.oldest or any(since <= pin < until for pin in self.pinned)


def _at(table: str, columns: tuple[str, ...], rows: list[Row], common: int) -> dict[Row, dict[str, Any]]:
    """Key → row by column, as it stood at version `common`."""
    found = {}
    for row in rows:
        named = dict(zip(columns, row, strict=True))
        if _version(named) > common:
            continue
        if "until_version" in named and named["until_version"] is not None and named["until_version"] > common:
            named |= {column: None for column in ENDS if column in named}
        for column in JSON:
            if named.get(column) is not None:
                named[column] = msgspec.json.decode(named[column])
        found[tuple(named[column] for column in KEYS[table])] = named
    return found


def _compare(
    table: str, key: Row, mine: dict[str, Any] | None, theirs: dict[str, Any] | None, kept: _Kept
) -> Difference | None:
    name = f"{table}[{key[0]}]"
    if mine is None:
        assert theirs is not None, "the key is one side's"
        return Difference(name, NOTHING, "a row", _version(theirs))
    if theirs is None:
        return Difference(name, "a row", NOTHING, _version(mine)) if kept.needs(mine) else None
    different = [column for column in mine if mine[column] != theirs[column]]
    if not different:
        return None
    column = different[0]
    inner, expected, found = first_difference(mine[column], theirs[column]) or ("", *map(short, (mine, theirs)))
    version = min(_version(mine), _version(theirs))
    if all(each in ENDS for each in different):
        version = min(each["until_version"] for each in (mine, theirs) if each["until_version"] is not None)
    return Difference(f"{name}.{column}{inner}", expected, found, version)


def _version(row: dict[str, Any]) -> int:
    version: int = row["version"] if "version" in row else row["since_version"]
    return version


def _snapshots(
    live: LiveRows, kept: _Kept, common: int, answer: Callable[[int], ClusterAnswer]
) -> Iterator[Difference]:
    found = {version: (codec, payload) for version, codec, payload in live.snapshots if version <= common}
    wanted = [version for version in live.versions if version <= common and version % SNAPSHOT_EVERY == 0]
    for version in sorted({*found, *(each for each in wanted if each >= kept.oldest)}):
        name = f"cluster_snapshots[{version}]"
        if version not in found:
            yield Difference(name, "a snapshot", NOTHING, version)
        elif version % SNAPSHOT_EVERY:
            yield Difference(name, NOTHING, "a snapshot", version)
        elif where := _snapshot_difference(*found[version], answer(version)):
            yield Difference(f"{name}.{where[0]}", where[1], where[2], version)


def _snapshot_difference(codec: str, payload: bytes, expected: ClusterAnswer) -> tuple[str, str, str] | None:
    """Its generation is the one in which it was written: that says nothing."""
    if codec != SNAPSHOT_CODEC:
        return "codec", SNAPSHOT_CODEC, short(codec)
    try:
        found = msgspec.json.decode(zlib.decompress(payload), type=ClusterAnswer)
    except (zlib.error, msgspec.DecodeError, UnicodeDecodeError) as error:
        return "payload", "an answer", short(str(error))
    return first_difference(msgspec.structs.replace(expected, generation=found.generation), found)
