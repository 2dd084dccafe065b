"""Folds one partition of the log in memory, exactly as the fold agent does. Used by rebuilds, audits and tests."""

from __future__ import annotations

import hashlib

import msgspec

from schemas.codec import decode_fact, decode_version
from schemas.errors import DeadLetter, UnknownVersion
from schemas.topics import PARTITION_FACTS_KEY
from schemas.versions import PetVersion
from tables import partition as partition_facts
from tables.changes import Position
from tables.outputs import Output
from tables.store import Applied, PetStore


class LogReplay:
    """Feed it the records of one partition in order, from the beginning.

    `only_pet` skips the facts of other pets; facts about the partition are always folded.
    """

    def __init__(self, partition: int, only_pet: str | None = None) -> None:
        self.partition = partition
        self.rows: dict[bytes, bytes] = {}
        self.refused: list[tuple[int, str]] = []
        self._only_pet = only_pet
        self.store = PetStore(self.rows.get)

    def feed(self, offset: int, key: bytes, value: bytes) -> PetVersion | None:
        """Fold one record; returns the version that it led to, if any.

        Raises UnknownVersion for a newer release's fact: a rebuild cannot go past it. A fact that cannot be folded is
        listed in `refused`, as the live fold dead-letters it.
        """
        for output in self.apply(offset, key, value):
            if output.channel == "versions":
                return decode_version(output.value)
        return None

    def apply(self, offset: int, key: bytes, value: bytes) -> list[Output]:
        """Fold one record; returns all its outputs."""
        pet_id = key.decode()
        if self._only_pet is not None and pet_id not in (self._only_pet, PARTITION_FACTS_KEY):
            return []
        try:
            applied = self._apply(offset, pet_id, value)
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

    def _apply(self, offset: int, pet_id: str, value: bytes) -> Applied:
        envelope, fact = decode_fact(value)
        if pet_id == PARTITION_FACTS_KEY:
            return Applied([partition_facts.record(self.rows.get, fact, offset)])
        force = partition_facts.in_force(self.rows.get, offset)
        at = Position(self.partition, offset, envelope.time, force.policy)
        return self.store.apply(pet_id, fact, at, force.model, frontier=offset - 1, generation=0)

    def digest(self) -> str:
        """SHA-256 over every pet's log-determined state, and every row but the heads: equal logs give equal digests."""
        digest = hashlib.sha256()
        for key in sorted(self.rows):
            name = key.decode()
            value = self.store.state(name.removesuffix("/h")) if name.endswith("/h") else self.rows[key]
            digest.update(msgspec.msgpack.encode((key, value)))
        return digest.hexdigest()
