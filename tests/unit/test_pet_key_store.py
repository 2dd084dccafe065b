"""The store of keys gives back what came, and stays small."""

from __future__ import annotations

import os
import tracemalloc
import uuid

import pytest

from agents import pet_key_store
from agents.pet_key_store import PetKeyStore
from schemas.pet_keys import Destroyed, PetKey

DESTROYED = Destroyed(purge_id="p", last_version=3, next_cluster=1)


def made(key_id: str, pet_id: str = "rex") -> PetKey:
    return PetKey(key_id=key_id, pet_id=pet_id, secret=os.urandom(32))


@pytest.mark.parametrize("key_id", [uuid.uuid4().hex, "0" * 32, "F" * 32, "f" * 40, "k1", "1_0", "", "-1", " 1", "é"])
def test_a_key_comes_back_under_its_own_id_alone(key_id: str) -> None:
    store, key, other = PetKeyStore(), made(key_id, "rex:é"), made(uuid.uuid4().hex)
    store.add(key)
    assert store.find(key_id) == key
    assert key_id in store
    assert other.key_id not in store
    assert store.find(other.key_id) is None


def test_a_pets_keys_come_in_their_order_and_a_destroyed_one_stays_so() -> None:
    store, keys = PetKeyStore(), [made(uuid.uuid4().hex) for _ in range(3)]
    for key in (*keys, made("of another", "bella"), *keys):
        store.add(key)
    assert store.of_pet("rex") == keys
    assert store.of_pet("nobody") == []
    gone = PetKey(key_id=keys[1].key_id, pet_id="rex", destroyed=DESTROYED)
    store.add(gone)
    store.add(keys[1])
    assert store.of_pet("rex") == [keys[0], gone, keys[2]]
    assert store.find(keys[1].key_id) == gone


def test_pets_of_the_same_hash_keep_their_own_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pet_key_store, "hash", lambda _: 7, raising=False)
    store, rex, bella = PetKeyStore(), made("k1"), made("k2", "bella")
    for key in (rex, bella):
        store.add(key)
    assert (store.of_pet("rex"), store.of_pet("bella"), store.of_pet("max")) == ([rex], [bella], [])


def test_a_million_keys_fit_into_300_megabytes() -> None:
    number, store = 20_000, PetKeyStore()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(number):
        store.add(made(uuid.uuid4().hex, uuid.uuid4().hex))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(store) == number
    assert (after - before) / number < 300
