"""Folds one partition of the log in memory, exactly as the fold agent does. Used by rebuilds, audits and tests."""

from __future__ import annotations

import hashlib
from collections.abc import MutableMapping

import msgspec

from schemas.codec import decode_version
from schemas.errors import DeadLetter, UnknownVersion
from schemas.topics import PARTITION_FACTS_KEY
from schemas.versions import PetVersion
from tables.log import fold_record
from tables.outputs import Output
from tables.store import PetStore


class LogReplay:
    """Feed it the records of one partition in order, from the beginning.

    `only_pet` skips the facts of other pets; facts about the partition are always folded. `rows`: where the state is
    kept, and from where a replay goes on; a dict unless given.
    """

    def __init__(
        self, partition: int, only_pet: str | None = None, rows: MutableMapping[bytes, bytes] | None = None
    ) -> None:
        self.partition = partition
        self.rows: MutableMapping[bytes, bytes] = {} if rows is None else rows
        self.refused: list[tuple[int, str]] = []
        self._only = None if only_pet is None else (only_pet.encode(), PARTITION_FACTS_KEY.encode())
        self.store = PetStore(self.rows.get)

    def feed(self, offset: int, key: bytes | None, value: bytes | None) -> PetVersion | None:
        """Fold one record; returns the version that it led to, if any.

        Raises UnknownVersion for a newer release's fact: a rebuild cannot go past it. A record that is no fact at all
        is listed in `refused`, as the live fold dead-letters it.
        """
        for output in self.apply(offset, key, value):
            if output.channel == "versions":
                return decode_version(output.value)
        return None

    def apply(self, offset: int, key: bytes | None, value: bytes | None) -> list[Output]:
        """Fold one record; returns all its outputs."""
        if self._only is not None and key not in self._only:
            return []
        try:
            applied = fold_record(self.store, self.partition, offset, key, value, frontier=offset - 1, generation=0)[2]
        except UnknownVersion:
            raise
        except DeadLetter as error:
            self.refused.append((offset, str(error)))
            return []
        for row_key, row in applied.records:
            if row is None:
                self.rows.pop(row_key, None)
            else:
                self.rows[row_key] = row
        return applied.outputs

    def digest(self) -> str:
        """SHA-256 over every pet's log-determined state, and every row but the heads: equal logs give equal digests."""
        digest = hashlib.sha256()
        for key in sorted(self.rows):
            name = key.decode()
            value = self.store.state(name.removesuffix("/h")) if name.endswith("/h") else self.rows[key]
            digest.update(msgspec.msgpack.encode((key, value)))
        return digest.hexdigest()
