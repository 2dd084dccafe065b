"""Millions of pet keys in little memory. Used by agents.pet_keys.

About 300 bytes a key, where a struct with its strings takes 600: an id of 32 hexadecimal digits is held as a number, a
key as its secret with the pet's id behind it, and a pet's name as its hash. When a key was made is not held.
"""

from __future__ import annotations

from schemas.pet_keys import SECRET_BYTES, PetKey

_Id = int | str
_Held = bytes | PetKey
"""A usable key as bytes; what is left of a destroyed one as it is, for those are few."""


class PetKeyStore:
    """Keys by their id and by their pet. They come back without `created_at`."""

    def __init__(self) -> None:
        self._keys: dict[_Id, _Held] = {}
        self._of_pet: dict[int, _Id | tuple[_Id, ...]] = {}
        """Hash of the pet's id → its keys, in the order of their coming, and those of any pet with the same hash."""

    def __contains__(self, key_id: str) -> bool:
        return _packed(key_id) in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, key_id: str) -> PetKey | None:
        """The key, or what is left of it; None when it never came."""
        packed = _packed(key_id)
        return _opened(packed, self._keys[packed]) if packed in self._keys else None

    def of_pet(self, pet_id: str) -> list[PetKey]:
        """All that came of the pet, in the order of their coming."""
        named = self._of_pet.get(hash(pet_id), ())
        ids = named if isinstance(named, tuple) else (named,)
        return [key for key in (_opened(each, self._keys[each]) for each in ids) if key.pet_id == pet_id]

    def add(self, key: PetKey) -> None:
        """Hold a key; one that is destroyed stays so."""
        packed = _packed(key.key_id)
        known = self._keys.get(packed)
        if known is None:
            self._note(key.pet_id, packed)
        if known is None or isinstance(known, bytes):
            self._keys[packed] = key if key.destroyed is not None else key.secret + key.pet_id.encode()

    def _note(self, pet_id: str, packed: _Id) -> None:
        place = hash(pet_id)
        named = self._of_pet.get(place)
        if named is None:
            self._of_pet[place] = packed
        else:
            self._of_pet[place] = (*(named if isinstance(named, tuple) else (named,)), packed)


def _packed(key_id: str) -> _Id:
    """As a number when it is one that is written back to the same text."""
    try:
        number = int(key_id, 16)
    except ValueError:
        return key_id
    return number if f"{number:032x}" == key_id else key_id


def _opened(packed: _Id, held: _Held) -> PetKey:
    if isinstance(held, PetKey):
        return held
    key_id = f"{packed:032x}" if isinstance(packed, int) else packed
    return PetKey(key_id=key_id, pet_id=held[SECRET_BYTES:].decode(), secret=held[:SECRET_BYTES])
