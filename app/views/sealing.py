"""The key under which the web role seals what users decide: the pet's newest usable one, as embed takes it. Used by
`app.decisions.desk`.

The keys are read in the background from the first decision on, so that the API starts and answers reads while Kafka is
down, and holds no keys where nobody decides. Each decision first sees what others have written: a key that embed has
just made, one that a purge has just destroyed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiokafka.errors import KafkaError

from agents.pet_keys import PetKeys
from agents.sealing_keys import SealingKeys
from app.views.services import KafkaUnavailable
from schemas.errors import StopProcess
from schemas.pet_keys import PetKey

log = structlog.get_logger(__name__)

KEYS_FETCH_MS: Final = 50
"""The keys' `fetch_ms`: each decision asks where the topic ends, and a user waits for it."""
_AWAY: Final = (KafkaError, OSError, StopProcess)


class CurrentKeys:
    """Pets' keys of the web role. `timeout`: seconds that a decision waits for what the topic holds."""

    def __init__(self, keys: PetKeys, *, timeout: float) -> None:
        self._keys = keys
        self._sealing = SealingKeys(keys)
        self._timeout = timeout
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Nothing is read before the first decision."""

    async def stop(self) -> None:
        """Stop reading; a second call does nothing."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        await self._keys.stop()

    async def current(self, pet_id: str, now: str, publish: Callable[[PetKey], Awaitable[None]]) -> PetKey | None:
        """The key to seal with, a new one for a pet whose facts are older than keys; None when a purge has destroyed
        all that it had, and nothing has come since.

        `publish`: returns once the broker has the key. Raises what it raises, and KafkaUnavailable while the keys
        cannot be read, or not all of them in time: the reading goes on.
        """
        await self._read_on()
        known = self._keys.of_pet(pet_id)
        if known and all(key.destroyed is not None for key in known):
            return None
        return await self._sealing.current(pet_id, None, now, publish)

    async def _read_on(self) -> None:
        """Return when all is read that the topic held at the call; calls that come together share one reading."""
        try:
            async with asyncio.timeout(self._timeout):
                before = self._reading
                if before is not None and not before.done():
                    await asyncio.wait({before})  # it may have asked earlier where the topic ends
                if self._reading is before:
                    self._reading = asyncio.create_task(self._read())
                if self._reading is not None:
                    await asyncio.shield(self._reading)
        except (*_AWAY, TimeoutError) as error:
            raise KafkaUnavailable(f"keys not read: {error!r}") from error

    async def _read(self) -> None:
        try:
            await self._keys.start()
            await self._keys.refresh()
        except Exception as error:
            log.warning("pet_keys_unavailable", error=repr(error))
            await self._keys.stop()  # the next one begins anew; what is known stays so
            raise
