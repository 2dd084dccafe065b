"""One partition of the log folded twice: as it stands, and with fields put over every policy. Used by `work`.

Rows and version messages are kept on disk, as a rebuild and a verification do; what the folds would send is dropped.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from app.compare.albums import Album
from app.policy.overrides import Overrides
from app.whatif.comparison import Difference, compare
from projections.bulk_rows import COLUMNS, Row, all_rows
from projections.fold_state import FoldState
from projections.verify.folding import Versions
from schemas.codec import decode_change, encode_fact
from schemas.facts import Fact, Policy, PolicyChanged, ReclusterRequested
from schemas.ids import UNCLUSTERED, cluster_id
from schemas.pet_keys import KeyReader
from schemas.topics import PARTITION_FACTS_KEY
from tables import partition as partition_facts
from tables.replay import LogReplay

_PARTITION: Final = PARTITION_FACTS_KEY.encode()
_BEFORE_THE_LOG: Final = -1
_LATER: Final = "1970-01-01T00:00:00+00:00"
"""The time of what is made up behind the log's end; nobody is told it."""


class Fold:
    """One of the two. `close` it."""

    def __init__(self, partition: int, folder: Path, keys: KeyReader) -> None:
        self.rows = FoldState(folder / "fold", durable=False)
        self._kept = FoldState(folder / "versions", durable=False)
        self.versions = Versions(self._kept)
        self._replay = LogReplay(partition, rows=self.rows, keys=keys)

    def feed(self, offset: int, key: bytes | None, value: bytes | None) -> None:
        """Fold the next record. Raises UnknownVersion for a newer release's fact."""
        for output in self._replay.apply(offset, key, value):
            if output.channel == "versions":
                self.versions.add(decode_change(output.value), output.value)
        self._replay.refused.clear()

    def is_decided(self, pet_id: str) -> bool:
        """Whether users have decided something about the pet that holds."""
        return self._replay.store.pet(pet_id).rules is not None

    def policy(self, offset: int) -> Policy:
        """What is in force at `offset` of the log."""
        return partition_facts.in_force(self.rows.get, offset).policy

    def album(self, pet_id: str) -> Album:
        """The pet's clusters as callers would read them; empty for a pet without a version."""
        return album_of(pet_id, all_rows(list(self.versions.changes(pet_id))))

    def close(self) -> None:
        """Let the files go."""
        self.rows.close()
        self._kept.close()


class TwoFolds:
    """Feed it the partition's records in order, from the beginning; then `differences`. `close` it at last.

    `only`: the pets whose facts are folded; all if None.
    """

    def __init__(
        self, partition: int, overrides: Overrides, folder: Path, keys: KeyReader, only: Collection[str] | None
    ) -> None:
        self._overrides = overrides
        self._only = None if only is None else {_PARTITION, *(pet.encode() for pet in only)}
        self.today = Fold(partition, folder / "today", keys)
        self.what_if = Fold(partition, folder / "what-if", keys)
        # What an old log begins with records no policy: there the fold's own default is in force.
        policy = PolicyChanged(policy=overrides.over(Policy()))
        key, row = partition_facts.record(self.what_if.rows.get, policy, _BEFORE_THE_LOG)
        self.what_if.rows[key] = row
        self.events = 0
        self._next_offset = 0

    def feed(self, offset: int, key: bytes | None, value: bytes | None) -> None:
        """Fold the next record on both sides. Raises UnknownVersion for a newer release's fact."""
        if self._only is not None and key not in self._only:
            return
        self.events += 1
        self._next_offset = offset + 1
        self.today.feed(offset, key, value)
        self.what_if.feed(offset, key, self._overrides.over_fact(value) if key == _PARTITION else value)

    def differences(self) -> Iterator[Difference]:
        """Of each pet that has a version on either side, in order of their ids."""
        policy = self._overrides.over(self.today.policy(self._next_offset))
        self._append(PolicyChanged(policy=policy), PARTITION_FACTS_KEY)
        for pet_id in sorted({*self.today.versions.pets(), *self.what_if.versions.pets()}):
            today = self.today.album(pet_id)
            if self.today.is_decided(pet_id):
                self._append(ReclusterRequested(request_id="what-if"), pet_id)
                yield compare(pet_id, today, self.today.album(pet_id))
            else:
                yield compare(pet_id, today, self.what_if.album(pet_id))

    def _append(self, fact: Fact, key: str) -> None:
        """Let the log of today go on. What users have decided names the clusters that they saw, so that it can be kept
        only where these were: such an album is folded anew under the policy at the log's end.
        """
        value = encode_fact(fact, event_id="what-if", time=_LATER, pet_id=key)
        self.today.feed(self._next_offset, key.encode(), value)
        self._next_offset += 1

    def close(self) -> None:
        """Let the files go."""
        self.today.close()
        self.what_if.close()


def album_of(pet_id: str, rows: dict[str, list[Row]]) -> Album:
    """The clusters of a pet's rows, in order of their numbers, as they hold at its last version."""
    members: dict[int, list[str]] = {}
    for row in _holding("cluster_members", rows, "cluster_number", "image_id"):
        members.setdefault(row[0], []).append(row[1])
    heroes: dict[int, list[str]] = {}
    for number, _, image_id in sorted(_holding("cluster_heroes", rows, "cluster_number", "rank", "image_id")):
        heroes.setdefault(number, []).append(image_id)
    loose = tuple(members.pop(UNCLUSTERED, ()))
    return Album(
        clusters={cluster_id(pet_id, number): tuple(members[number]) for number in sorted(members)},
        heroes={cluster_id(pet_id, number): tuple(images) for number, images in heroes.items()},
        loose=loose,
    )


def _holding(table: str, rows: dict[str, list[Row]], *columns: str) -> Iterator[Row]:
    """Some columns of the rows that have not ended."""
    names = COLUMNS[table]
    until, wanted = names.index("until_version"), [names.index(column) for column in columns]
    return (tuple(row[index] for index in wanted) for row in rows[table] if row[until] is None)
