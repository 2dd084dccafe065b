"""Folds one partition of the log in memory, exactly as the fold agent does. Used by rebuilds, audits and tests."""

from __future__ import annotations

import hashlib
from collections.abc import MutableMapping

import msgspec

from schemas.codec import decode_change
from schemas.errors import DeadLetter, UnknownVersion
from schemas.pet_keys import NO_KEYS, KeyRing
from schemas.topics import PARTITION_FACTS_KEY
from schemas.versions import PetErased, PetVersion
from tables.log import fold_record
from tables.outputs import Output
from tables.rows import is_purge_row
from tables.store import PetStore


class LogReplay:
    """Feed it the records of one partition in order, from the beginning.

    `only_pet` skips the facts of other pets; facts about the partition are always folded. `rows`: where the state is
    kept, and from where a replay goes on; a dict unless given. `keys`: what opens sealed facts.
    """

    def __init__(
        self,
        partition: int,
        only_pet: str | None = None,
        rows: MutableMapping[bytes, bytes] | None = None,
        keys: KeyRing = NO_KEYS,
    ) -> None:
        self.partition = partition
        self.rows: MutableMapping[bytes, bytes] = {} if rows is None else rows
        self.refused: list[tuple[int, str]] = []
        self._only = None if only_pet is None else (only_pet.encode(), PARTITION_FACTS_KEY.encode())
        self.store = PetStore(self.rows.get)
        self._keys = keys

    def feed(self, offset: int, key: bytes | None, value: bytes | None) -> PetVersion | PetErased | None:
        """Fold one record; returns the version or the purge that it led to, if any.

        Raises UnknownVersion for a newer release's fact: a rebuild cannot go past it. A record that is no fact at all
        is listed in `refused`, as the live fold dead-letters it.
        """
        for output in self.apply(offset, key, value):
            if output.channel == "versions":
                return decode_change(output.value)
        return None

    def apply(self, offset: int, key: bytes | None, value: bytes | None) -> list[Output]:
        """Fold one record; returns all its outputs."""
        if self._only is not None and key not in self._only:
            return []
        try:
            applied = fold_record(
                self.store, self.partition, offset, key, value, frontier=offset - 1, generation=0, keys=self._keys
            )[2]
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
        """SHA-256 over every pet's log-determined state, and every row but the heads: equal logs give equal digests.

        Rows of purges are left out: they list what stood in this table.
        """
        digest = hashlib.sha256()
        for key in sorted(key for key in self.rows if not is_purge_row(key)):
            name = key.decode()
            value = self.store.state(name.removesuffix("/h")) if name.endswith("/h") else self.rows[key]
            digest.update(msgspec.msgpack.encode((key, value)))
        return digest.hexdigest()
