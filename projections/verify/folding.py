"""Folds a partition of the log and compares each pet of the table's copy when the fold stands where its head does.

Used by `partition`. The fold keeps the pet's rows on disk, as a rebuild does, and its version messages beside them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Final

from projections.fold_state import FoldState
from projections.replayed import Change
from projections.verify.changelog import UNREADABLE, TableCopy
from projections.verify.findings import NOTHING, Difference, first_of
from projections.verify.table import partition_differences, pet_differences
from schemas.codec import decode_change, decode_message
from schemas.decisions import DecisionSettled
from schemas.pet_keys import KeyReader
from schemas.topics import PARTITION_FACTS_KEY
from schemas.versions import PetErased, PetVersion
from tables.replay import LogReplay
from tables.rows import head_key

_DECIDED: Final = "d"
"""Stands in a key before a decision's offset; digits come before it."""
NEVER: Final = -1
"""Stands for the offset of a pet that the table need not hold yet."""


class Versions:
    """The version messages of a partition's pets, on disk, by pet and number, and what became of decisions, by their
    place in the log. A purge takes those before it away, and stands in the place of the last version.
    """

    def __init__(self, rows: FoldState) -> None:
        self._rows = rows

    def add(self, change: PetVersion | PetErased, message: bytes) -> None:
        """Keep a message."""
        if isinstance(change, PetErased):
            for key in [key for key, _ in self._rows.under(f"{change.pet_id}/".encode())]:
                del self._rows[key]
        self._rows[f"{change.pet_id}/{change.version:020d}".encode()] = message

    def settle(self, settled: DecisionSettled, message: bytes) -> None:
        """Keep what became of a decision."""
        self._rows[f"{settled.pet_id}/{_DECIDED}{settled.offset:020d}".encode()] = message

    def changes(self, pet_id: str) -> Iterator[Change]:
        """A pet's last purge, if it had one, and its versions since, in order; behind them its decisions, in order."""
        return (decode_message(message) for _, message in self._rows.under(f"{pet_id}/".encode()))

    def of(self, pet_id: str) -> Iterator[PetVersion]:
        """A pet's versions, in order."""
        return (change for change in self.changes(pet_id) if isinstance(change, PetVersion))

    def pets(self) -> Iterator[str]:
        """Every pet that has a version."""
        key = self._rows.key_from(b"")
        while key is not None:
            pet = key.partition(b"/")[0]
            yield pet.decode()
            key = self._rows.key_from(pet + b"0")  # the character behind "/"


class Folding:
    """Feed it the log from the beginning; `table_differences` when it is read. About 200 bytes of memory a pet.

    `must`: below this offset of the log the table must hold everything. `only`: the pets that are looked at, all if
    None.
    """

    def __init__(
        self,
        partition: int,
        fold: FoldState,
        versions: Versions,
        copy: TableCopy,
        copied_rows: FoldState,
        must: int,
        only: Collection[str] | None,
        keys: KeyReader,
    ) -> None:
        self._replay = LogReplay(partition, rows=fold, keys=keys)
        self._fold = fold
        self._versions = versions
        self._copy = copy
        self._copied_rows = copied_rows
        self._must = must
        self._only = None if only is None else {PARTITION_FACTS_KEY.encode(), *(pet.encode() for pet in only)}
        self._due: dict[str, int] = {}
        self._met: dict[str, tuple[Difference, int] | None] = {}
        self.events = 0
        self.versions = 0

    def feed(self, offset: int, key: bytes | None, value: bytes | None) -> None:
        """Fold the next record. Raises UnknownVersion for a newer release's fact."""
        if self._only is not None and key not in self._only:
            return
        outputs = self._replay.apply(offset, key, value)
        if self._replay.refused:
            self._replay.refused.clear()  # no fact at all: it is in nobody's rows
            return
        assert key is not None, "it is refused"
        self.events += 1
        for output in outputs:
            if output.channel == "versions":
                self._versions.add(decode_change(output.value), output.value)
                self.versions += 1
            elif output.channel == "decisions":
                message = decode_message(output.value)
                assert isinstance(message, DecisionSettled), "the channel has no others"
                self._versions.settle(message, output.value)
        self._compare(key.decode(), offset)

    @property
    def pets(self) -> int:
        """How many pets have been folded."""
        return len(self._due) - (PARTITION_FACTS_KEY in self._due)

    @property
    def compared(self) -> int:
        """Of how many pets the table's rows were compared."""
        return len(self._met) - (PARTITION_FACTS_KEY in self._met)

    def table_differences(self) -> Iterator[tuple[str, Difference, int]]:
        """(pet, its first difference, how many) of those that differ."""
        for pet_id, due in self._due.items():
            found = self._met.get(pet_id)
            if found is None:
                found = self._misplaced(pet_id, due)
            if found is not None:
                yield pet_id, *found
        for pet_id in [pet for pet in self._copy.reached if pet not in self._due and self._is_wanted(pet)]:
            yield pet_id, Difference(_head(pet_id), NOTHING, "rows of a pet that the log does not know", -1), 1

    def _compare(self, pet_id: str, offset: int) -> None:
        """The copy holds the pet as it was at one offset: compare it when the fold stands there."""
        is_partition = pet_id == PARTITION_FACTS_KEY
        last = offset if is_partition else self._replay.store.pet(pet_id).last_offset
        self._due[pet_id] = last if offset < self._must else self._due.get(pet_id, NEVER)
        if self._copy.reached.get(pet_id) != last or self._met.get(pet_id, ()) is None:
            return
        differences = (
            partition_differences(self._fold, self._copied_rows)
            if is_partition
            else pet_differences(pet_id, self._replay.store.state(pet_id), self._fold, self._copied_rows)
        )
        self._met[pet_id] = first_of(self._placed(pet_id, each) for each in differences)

    def _placed(self, pet_id: str, difference: Difference) -> Difference:
        """With the version that the row's event made, or the next one."""
        if difference.version:
            return difference
        made = self._first_made(pet_id, difference.offset)
        return replace(difference, version=made.version if made else -1)

    def _first_made(self, pet_id: str, offset: int) -> PetVersion | None:
        return next((each for each in self._versions.of(pet_id) if each.offset >= offset), None)

    def _misplaced(self, pet_id: str, due: int) -> tuple[Difference, int] | None:
        """What is wrong with where the pet's head stands."""
        reached = self._copy.reached.get(pet_id)
        expected = f"at log offset {due} or later"
        if reached is None:
            return None if due == NEVER else (self._from(pet_id, 0, expected, NOTHING), 1)
        if reached == UNREADABLE:
            return self._from(pet_id, max(due, 0), expected, "cannot be read"), 1
        if reached < due:
            return self._from(pet_id, reached + 1, expected, f"at log offset {reached}"), 1
        if pet_id in self._met:
            return None
        return Difference(_head(pet_id), "at an event of the pet", f"at log offset {reached}", -1), 1

    def _from(self, pet_id: str, offset: int, expected: str, found: str) -> Difference:
        """A head that lacks what was made from this offset on."""
        made = self._first_made(pet_id, offset)
        version, at = (made.version, made.offset) if made else (-1, -1)
        return Difference(_head(pet_id), expected, found, version, at)

    def _is_wanted(self, pet_id: str) -> bool:
        return self._only is None or pet_id.encode() in self._only


def _head(pet_id: str) -> str:
    return pet_id if pet_id == PARTITION_FACTS_KEY else head_key(pet_id).decode()
