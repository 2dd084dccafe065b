"""Applies one record of the log: the way of the fold agent and of every replay, so that both do the same. Pure."""

from __future__ import annotations

from schemas.codec import Envelope, decode_fact
from schemas.errors import DeadLetter
from schemas.fact_checks import check_fact, check_time
from schemas.facts import Fact
from schemas.ids import check_id
from schemas.pet_keys import NO_KEYS, KeyRing
from schemas.topics import PARTITION_FACTS_KEY
from tables import partition as partition_facts
from tables.changes import Position
from tables.store import Applied, PetStore


def fold_record(
    store: PetStore,
    partition: int,
    offset: int,
    key: bytes | None,
    value: bytes | None,
    *,
    frontier: int,
    generation: int,
    keys: KeyRing = NO_KEYS,
) -> tuple[Envelope, Fact, Applied]:
    """Fold the record at (`partition`, `offset`); `frontier` and `generation` as `PetStore.apply` takes them.

    Raises DeadLetter for a record that is no fact of this release (UnknownVersion: of a newer one), StopProcess when
    going on would corrupt the state, or `keys` lacks the key that seals the fact. A fact that is one but cannot be
    folded is refused by the store: its outputs say so.
    """
    pet_id = _pet_of(key)
    if value is None:
        raise DeadLetter("value: is missing; a tombstone is no fact")
    envelope, fact = decode_fact(value, keys)
    check_time(envelope.time)
    check_fact(fact)
    if pet_id == PARTITION_FACTS_KEY:
        return envelope, fact, Applied([partition_facts.record(store.get, fact, offset)])
    force = partition_facts.in_force(store.get, offset)
    at = Position(partition, offset, envelope.time, force.policy, envelope.key_id)
    return envelope, fact, store.apply(pet_id, fact, at, force.model, frontier=frontier, generation=generation)


def _pet_of(key: bytes | None) -> str:
    if not key:
        raise DeadLetter("key: is missing; it names the pet")
    try:
        name = key.decode()
    except UnicodeDecodeError:
        raise DeadLetter("key: is not UTF-8") from None
    return name if name == PARTITION_FACTS_KEY else check_id(name, "key")
