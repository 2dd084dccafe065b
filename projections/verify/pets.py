"""One pet's rows in Postgres and its cached answer against its versions. Used by `partition`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec

from projections.bulk_rows import BulkRows, Row, VersionGap
from projections.cache import AnswerCache, stored_position
from projections.replayed import Change
from projections.verify.answers import answer_at
from projections.verify.decided import TABLE, decision_differences
from projections.verify.findings import NOTHING, Difference, Place, first_difference, first_of, short
from projections.verify.frontier import Settled
from projections.verify.reading import read_pet
from projections.verify.rows import LiveRows, row_differences, rows_without_version
from schemas.answers import ClusterAnswer, encode_answer
from schemas.decisions import DecisionSettled
from schemas.errors import InvalidInput
from schemas.versions import PetErased, PetVersion


@dataclass(frozen=True, slots=True)
class _Cached:
    """A cached answer, if there is one. `must`: it holds everything below this offset of the log."""

    answer: bytes | None
    must: int


class PetCheck:
    """Compares pets for one look. Holds one pet's history in memory at a time.

    `moved`: pets whose cached answer is newer than the log that was folded. `newer`: pet → (version, log offset) of a
    row that names an event behind it.
    """

    def __init__(self, connection: Any, cache: AnswerCache, settled: Settled) -> None:
        self._connection = connection
        self._cache = cache
        self._settled = settled
        self._early: dict[str, _Cached] = {}
        self.moved: set[str] = set()
        self.newer: dict[str, tuple[int, int]] = {}
        self.in_postgres = 0
        self.in_redis = 0

    async def read_cached(self, pets: Collection[str]) -> None:
        """Read what Redis has of some pets before the log is read, which then cannot be behind it."""
        for pet_id in pets:
            self._early[pet_id] = await self._read_cached(pet_id)

    async def compare(self, pet_id: str, changes: Sequence[Change], end: int) -> dict[Place, tuple[Difference, int]]:
        """Place → first difference and how many. `changes`: the pet's last purge, if any, its versions and its
        decisions since, up to log offset `end`.
        """
        rows, versions = _rows_of(changes)
        cached = self._early[pet_id] if pet_id in self._early else await self._read_cached(pet_id)
        live = await read_pet(self._connection, pet_id, self._settled)
        offsets = {version.version: version.offset for version in versions}
        found: dict[Place, tuple[Difference, int]] = {}
        if first := first_of(self._in_postgres(pet_id, rows, live, offsets, end)):
            found["postgres"] = first
        if first := first_of(self._in_redis(pet_id, cached, rows, live, offsets)):
            found["redis"] = first
        return {place: (_placed(each, offsets), number) for place, (each, number) in found.items()}

    @staticmethod
    def beyond(version: int, offset: int) -> Difference:
        """A version whose row names an event that the log does not have."""
        return Difference(f"pet_clusters[{version}]", NOTHING, f"a row of log offset {offset}", version)

    def _in_postgres(
        self, pet_id: str, rows: dict[str, list[Row]], live: LiveRows, offsets: dict[int, int], end: int
    ) -> list[Difference]:
        last, folded = max(live.versions, default=0), max(offsets, default=0)
        found = []
        for version, offset in sorted(live.versions.items()):
            if version > folded and offset < end:
                found.append(self.beyond(version, offset))
            elif version > folded:
                self.newer[pet_id] = (version, offset)
        if last < _last_below(live.must, offsets):
            found.append(Difference(f"pet_clusters[{last + 1}]", "a row", NOTHING, last + 1))
        if common := min(last, folded):
            self.in_postgres += 1
            answer = partial(answer_at, rows, generation=live.generation)
            found += row_differences(rows, live, common, answer)
            found += decision_differences(rows[TABLE], live.rows[TABLE], offsets[common])
        return [*found, *rows_without_version(live)]

    def _in_redis(
        self, pet_id: str, cached: _Cached, rows: dict[str, list[Row]], live: LiveRows, offsets: dict[int, int]
    ) -> list[Difference]:
        if cached.answer is None:
            return []
        position = stored_position(cached.answer)
        assert position is not None, "the cache gives no others"
        (generation, version), folded = position, max(offsets, default=0)
        if version > folded and pet_id not in self._early:
            self.moved.add(pet_id)
            return []
        self.in_redis += 1
        if version not in offsets:
            return [Difference("an answer's version", f"at most {folded}", str(version), -1)]
        expected = answer_at(rows, version, generation)
        if encode_answer(expected) != cached.answer:
            return [replace(_answer_difference(expected, cached.answer), version=version)]
        if generation > live.generation:
            return [Difference("generation", str(live.generation), str(generation), version)]
        must = _last_below(cached.must, offsets)
        return [Difference("version", f"{must} or later", str(version), version + 1)] if version < must else []

    async def _read_cached(self, pet_id: str) -> _Cached:
        """The position first: what it has passed must be in an answer that is read behind it."""
        must = await self._settled.cached(self._connection)
        return _Cached(await self._cache.get(pet_id), must)


def _rows_of(changes: Sequence[Change]) -> tuple[dict[str, list[Row]], list[PetVersion]]:
    """The rows that versions come to, and these versions: up to one that no column holds, where the projector has
    stopped for this pet, too (it has dead-lettered it).
    """
    bulk, written = BulkRows(), list[PetVersion]()
    for change in changes:
        if isinstance(change, PetErased):
            bulk.erase(change)
            continue
        try:
            if isinstance(change, DecisionSettled):
                bulk.settle(change)
                continue
            bulk.apply(change)
        except (InvalidInput, VersionGap):
            continue  # what follows such a version does not follow either
        written.append(change)
    rows = bulk.take()
    for table, row in bulk.holding():
        rows[table].append(row)
    return rows, written


def _answer_difference(expected: ClusterAnswer, cached: bytes) -> Difference:
    try:
        found = msgspec.json.decode(cached, type=ClusterAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Difference("an answer that cannot be read", "an answer", short(str(error)))
    where = first_difference(expected, found) or ("its bytes", short(encode_answer(expected)), short(cached))
    return Difference(*where)


def _last_below(end: int, offsets: dict[int, int]) -> int:
    """The last version whose event lies below this offset; 0 for none."""
    return max((version for version, offset in offsets.items() if offset < end), default=0)


def _placed(difference: Difference, offsets: dict[int, int]) -> Difference:
    """With the log offset of the event that made its version."""
    return replace(difference, offset=offsets.get(difference.version, -1))
