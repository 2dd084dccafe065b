"""The table's copy, as a changelog gives it, against the fold of the log: what is told, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from projections.fold_state import FoldState
from projections.verify.changelog import TableCopy
from projections.verify.findings import Difference, first_difference, first_of
from projections.verify.folding import Folding, Versions
from projections.verify.table import offset_of
from schemas.facts import Policy, PolicyChanged, ReclusterRequested
from schemas.pet_keys import NoKeys
from schemas.topics import PARTITION_FACTS_KEY
from tables.log import fold_record
from tables.rows import decode_head, encode, head_key, row_key
from tables.store import PetStore
from tests.unit.test_fold import Entry, burst_log, entry

Record = tuple[bytes, bytes | None]
LAG = 3
"""How many events the table's acknowledgements are behind: the fold keeps superseded rows for so long."""


def album(pets: tuple[str, ...] = ("pet_1", "pet_2")) -> list[Entry]:
    """A policy and two interleaved albums with a recluster."""
    logs = [burst_log(number, pet=pet) for number, pet in enumerate(pets)]
    log = [each for both in zip(*logs, strict=True) for each in both]
    changed = entry(PolicyChanged(policy=Policy(policy_id="second")), PARTITION_FACTS_KEY)
    return [changed, *log, entry(ReclusterRequested(request_id="again"), pets[0])]


def changelog_of(log: list[Entry]) -> list[list[Record]]:
    """What each event writes to the changelog."""
    rows: dict[bytes, bytes] = {}
    store, written = PetStore(rows.get), []
    for offset, (key, value) in enumerate(log):
        _, _, applied = fold_record(store, 0, offset, key, value, frontier=offset - LAG, generation=1)
        for row, content in applied.records:
            if content is None:
                rows.pop(row, None)
            else:
                rows[row] = content
        written.append(applied.records)
    return written


class Bench:
    """Gives what differs when the table has recovered from some records."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0

    def differing(
        self, log: list[Entry], changelog: list[Record], must: int = 0, only: set[str] | None = None
    ) -> dict[str, tuple[Difference, int]]:
        self.number += 1
        fold, versions, table = (FoldState(self.folder / f"{name}-{self.number}") for name in ("f", "v", "t"))
        copy = TableCopy(table)
        for key, value in changelog:
            copy.apply(key, value)
        folding = Folding(0, fold, Versions(versions), copy, table, must, only, NoKeys())
        for offset, (key, value) in enumerate(log):
            folding.feed(offset, key, value)
        found = {pet: (first, number) for pet, first, number in folding.table_differences()}
        for each in (fold, versions, table):
            each.close()
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def flat(written: list[list[Record]]) -> list[Record]:
    return [record for each in written for record in each]


def test_every_prefix_of_the_changelog_is_equal_to_the_log(bench: Bench) -> None:
    log = album()
    records = flat(changelog_of(log))
    for end in range(0, len(records) + 1, 7):
        assert bench.differing(log, records[:end]) == {}, f"the first {end} records"
    assert bench.differing(log, records, must=len(log)) == {}


def test_what_the_fold_has_committed_must_be_there(bench: Bench) -> None:
    log = album()
    written = changelog_of(log)
    found = bench.differing(log, flat(written[:-4]), must=len(log))
    assert set(found) == {"pet_1", "pet_2"}
    first, _ = found["pet_2"]
    assert (first.field, first.found) == ("pet_2/h", f"at log offset {len(log) - 6}")
    assert log[first.offset][0] == b"pet_2"
    nothing = bench.differing(log, written[0], must=len(log))
    assert {pet: first.found for pet, (first, _) in nothing.items()} == {"pet_1": "nothing", "pet_2": "nothing"}
    assert [nothing["pet_1"][0].version, nothing["pet_1"][0].offset] == [1, 1]


def test_a_changed_row_of_each_kind_is_named_with_its_version_and_event(bench: Bench) -> None:
    log = album(("pet_1",))
    records = flat(changelog_of(log))
    rows = {key: value for key, value in records if value is not None}
    for kind in ("i", "c"):
        offset = max(offset_of(key) for key in rows if f"/{kind}/".encode() in key)
        key = row_key("pet_1", kind, offset)
        changed = bytearray(rows[key])
        changed[len(changed) // 2] ^= 1
        ((pet, (first, number)),) = bench.differing(log, [*records, (key, bytes(changed))]).items()
        assert (pet, number, first.offset) == ("pet_1", 1, offset)
        assert first.field.startswith(key.decode())
        assert first.version == offset, "each event of this album makes a version"
        ((_, (first, _)),) = bench.differing(log, [*records, (key, None)]).items()
        assert (first.field, first.found) == (key.decode(), "nothing")


def test_a_changed_head_is_named_with_the_field(bench: Bench) -> None:
    log = album(("pet_1",))
    records = flat(changelog_of(log))
    key = head_key("pet_1")
    head = decode_head([value for row, value in records if row == key and value is not None][-1])
    damaged = encode(replace(head, state=replace(head.state, next_cluster=77)))
    ((_, (first, number)),) = bench.differing(log, [*records, (key, damaged)]).items()
    assert (first.field, first.found, number) == ("pet_1/h next_cluster", "77", 1)
    assert (first.version, first.offset) == (head.state.version, head.state.last_offset)
    ((_, (first, _)),) = bench.differing(log, [*records, (key, b"\x92no head")], must=len(log)).items()
    assert (first.found, first.offset) == ("cannot be read", len(log) - 1)


def test_a_head_behind_the_log_a_foreign_row_and_a_pet_of_nobody_are_told(bench: Bench) -> None:
    log = album(("pet_1",))
    records = flat(changelog_of(log))
    row = next(value for key, value in records if b"/i/" in key and value is not None)
    foreign = row_key("pet_1", "i", 0)  # the policy's offset: no image
    ((_, (first, _)),) = bench.differing(log, [*records, (foreign, row)]).items()
    assert (first.field, first.expected) == ("pet_1/i/0", "nothing")
    head = next(value for key, value in records if key == head_key("pet_1") and value is not None)
    ((pet, (first, _)),) = bench.differing(log, [*records, (head_key("nobody"), head)]).items()
    assert (pet, first.version) == ("nobody", -1)
    assert bench.differing(log, [*records, (head_key("nobody"), head)], only={"pet_1"}) == {}


def test_a_late_head_of_a_zombie_changes_nothing(bench: Bench) -> None:
    log = album(("pet_1",))
    records = flat(changelog_of(log))
    old = next(record for record in records if record[0] == head_key("pet_1"))
    assert bench.differing(log, [*records, old], must=len(log)) == {}


def test_the_first_leaf_that_differs_is_named() -> None:
    assert first_difference({"a": [1, 2], "b": 3}, {"a": [1, 5], "b": 4}) == ("[a][1]", "2", "5")
    assert first_difference([1], [1, 2]) == ("[1]", "nothing", "2")
    assert first_difference(Policy(), Policy(join=0.5)) == ("join", "0.65", "0.5")
    assert first_difference(b"abc", b"abc") is None
    first = first_of([Difference("b", "", "", 3), Difference("a", "", "", 2, 9), Difference("c", "", "", 2, 7)])
    assert first == (Difference("c", "", "", 2, 7), 3)
    assert first_of([]) is None
