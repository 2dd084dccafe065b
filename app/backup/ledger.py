"""Whether facts and keys of an export belong together. Filled by export and check as they read, record by record.

A fact without its key stops whoever folds it. A destroyed key without its PetPurged would hide the pet's facts but not
say where its numbers stood, so its versions would begin at 1 again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from app.backup.records import LogRecord
from schemas.codec import decode_fact, keys_named
from schemas.errors import DeadLetter
from schemas.facts import PetPurged
from schemas.pet_keys import Destroyed, PetKey, decode_key
from schemas.topics import Topics

LOG: Final = Topics().pet_log.name
KEYS: Final = Topics().pet_keys.name
_PURGED: Final = PetPurged.__name__.encode()
_UNKNOWN: Final = Destroyed(purge_id="", last_version=-1, next_cluster=-1)


@dataclass(frozen=True, slots=True)
class DestroyedKey:
    """A key without its secret. `partition`: its own, which is that of the pet's facts."""

    key_id: str
    pet_id: str
    purge_id: str
    partition: int


@dataclass
class Ledger:
    """What was read so far; memory grows with keys and purges, not with facts.

    `keys`: those of which there is a record. `named`: key → the first fact that names it. `purges`: (pet, purge) of
    each PetPurged.
    """

    keys: set[str] = field(default_factory=set)
    destroyed: dict[str, DestroyedKey] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)
    purges: set[tuple[str, str]] = field(default_factory=set)

    def see(self, topic: str, partition: int, record: LogRecord) -> None:
        """Take note of a record. `topic`: without the prefix. What is no fact or key is passed over, as readers do."""
        if topic == LOG:
            self._fact(partition, record)
        elif topic == KEYS:
            self._key(partition, record)

    def lacking(self) -> Iterator[tuple[str, str]]:
        """(key, what is missing) for each key that a fact misses, and each that misses its purge."""
        for key_id in sorted(self.named.keys() - self.keys):
            yield key_id, f"is not there, but {self.named[key_id]} names it"
        for each in self.without_purge():
            yield each.key_id, f"was destroyed by purge {each.purge_id!r}, whose PetPurged is not in {LOG}"

    def without_purge(self) -> list[DestroyedKey]:
        """Destroyed keys whose PetPurged was not seen."""
        return [each for each in self.destroyed.values() if (each.pet_id, each.purge_id) not in self.purges]

    def _fact(self, partition: int, record: LogRecord) -> None:
        value = record.value or b""
        for key_id in keys_named(value):
            self.named.setdefault(key_id, f"{LOG}/{partition}/{record.offset}")
        if _PURGED not in value:
            return
        try:
            envelope, fact = decode_fact(value, _Sealed())
        except DeadLetter:
            return
        if isinstance(fact, PetPurged):
            self.purges.add((envelope.pet_id, fact.purge_id))

    def _key(self, partition: int, record: LogRecord) -> None:
        try:
            key = decode_key(record.value or b"")
        except DeadLetter:
            return
        self.keys.add(key.key_id)
        self.destroyed.pop(key.key_id, None)
        if key.destroyed is not None:
            self.destroyed[key.key_id] = DestroyedKey(key.key_id, key.pet_id, key.destroyed.purge_id, partition)


class _Sealed:
    """A ring that opens nothing."""

    def find(self, key_id: str) -> PetKey:
        """As if it were destroyed, by no purge."""
        return PetKey(key_id=key_id, pet_id="", destroyed=_UNKNOWN)
