"""Keys under which a pet's facts are sealed: records of `media.pet-keys`, and what looks them up. msgpack.

A record's Kafka key is its `key_id`, its partition that of the pet. A purge writes the record again without its secret:
compaction then removes the secret, and with it every vector and name sealed under it, in the log and in its copies.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

import msgspec

from schemas.bounds import MAX_TEXT
from schemas.errors import DeadLetter, StopProcess

PET_KEY_TYPE: Final = "media.PetKey.v1"
SECRET_BYTES: Final = 32


class Destroyed(msgspec.Struct, frozen=True, kw_only=True):
    """The purge that destroyed a key, and where the pet's numbers stood: a replay cannot count what it cannot read.

    `last_version`: the pet's version at the purge; `next_cluster`: the number that its next cluster gets.
    """

    purge_id: str
    last_version: int
    next_cluster: int


class PetKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key of a pet. `secret`: 32 bytes (AES-256), empty once `destroyed`."""

    format: int = 1
    key_id: str
    pet_id: str
    created_at: str = ""
    secret: bytes = b""
    destroyed: Destroyed | None = None

    def __repr__(self) -> str:
        """Without the secret: errors and logs show it."""
        state = "destroyed" if self.destroyed else "secret=..."
        return f"PetKey(key_id={self.key_id!r}, pet_id={self.pet_id!r}, {state})"


class KeyRing(Protocol):
    """Finds keys. What lacks a key that was never destroyed must not go on: it would take facts for erased."""

    def find(self, key_id: str) -> PetKey:
        """The key, or what is left of it. Raises StopProcess when it was never seen."""
        ...


class KeyReader(KeyRing, Protocol):
    """A ring that can ask the topic for more."""

    async def need(self, key_ids: Iterable[str]) -> None:
        """Look for those that are not known yet, up to what the topic holds now."""
        ...


class NoKeys:
    """The ring of a reader that expects nothing sealed."""

    def find(self, key_id: str) -> PetKey:
        """Raises StopProcess."""
        raise StopProcess(f"key_id: a fact is sealed under {key_id[:100]!r}, but its reader was given no keys")

    async def need(self, key_ids: Iterable[str]) -> None:
        """There is no topic to ask."""


NO_KEYS: Final = NoKeys()

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(PetKey)


def encode_key(key: PetKey) -> bytes:
    """The bytes of a message on `media.pet-keys`."""
    return _encoder.encode(key)


def decode_key(raw: bytes) -> PetKey:
    """Raises DeadLetter when the bytes are no key of this release."""
    try:
        key = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DeadLetter(f"not a key: {error}"[:MAX_TEXT]) from error
    if key.format != 1:
        raise DeadLetter(f"format: {key.format} is not known to this release")
    if (len(key.secret) != SECRET_BYTES) if key.destroyed is None else key.secret:
        raise DeadLetter(f"secret: has {len(key.secret)} bytes")
    return key
