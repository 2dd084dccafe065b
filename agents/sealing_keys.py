"""The key under which embed seals a pet's facts: the newest that no purge has retired, else a new one.

Used by agents.embed. A new key is durable before anything is sealed under it.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Awaitable, Callable
from typing import Protocol

from agents.pet_purge import PurgeMark
from schemas.pet_keys import SECRET_BYTES, PetKey

Publish = Callable[[PetKey], Awaitable[None]]


class Keys(Protocol):
    """What is needed of agents.pet_keys."""

    async def refresh(self) -> None:
        """Read what other workers have written."""
        ...

    def of_pet(self, pet_id: str) -> list[PetKey]:
        """All that the pet ever had."""
        ...

    def add(self, key: PetKey) -> None:
        """Know a key."""
        ...


class SealingKeys:
    """One key a pet at a time; commands of a pet that need its first one wait for the same."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._making: dict[str, asyncio.Lock] = {}

    async def current(self, pet_id: str, mark: PurgeMark | None, now: str, publish: Publish) -> PetKey:
        """The key to seal with. `publish`: returns once the broker has the key."""
        if (key := self._usable(pet_id, mark)) is not None:
            return key
        async with self._making.setdefault(pet_id, asyncio.Lock()):
            if (key := self._usable(pet_id, mark)) is not None:
                return key
            key = PetKey(key_id=uuid.uuid4().hex, pet_id=pet_id, created_at=now, secret=os.urandom(SECRET_BYTES))
            await publish(key)
            self._keys.add(key)
        self._making.pop(pet_id, None)
        return key

    async def all_of(self, pet_id: str) -> list[str]:
        """Ids of all keys that the pet has, those of other workers among them."""
        await self._keys.refresh()
        return [key.key_id for key in self._keys.of_pet(pet_id) if key.destroyed is None]

    def _usable(self, pet_id: str, mark: PurgeMark | None) -> PetKey | None:
        usable = [
            key
            for key in self._keys.of_pet(pet_id)
            if key.destroyed is None and not (mark is not None and mark.has_retired(key.key_id))
        ]
        return usable[-1] if usable else None
