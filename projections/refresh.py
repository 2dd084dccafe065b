"""Brings the cache to the rows' state after each batch, and later where Redis was away. Called by `projections.runner`.

Postgres is the truth and never waits for Redis: a pet whose answer could not be stored is remembered and tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

import asyncpg
import structlog
from redis.exceptions import RedisError

from projections.away import POSTGRES_ERRORS
from projections.cache import AnswerCache
from projections.purges import PurgeRecords
from projections.reader import ClusterReader
from projections.telemetry import ProjectorMetrics
from schemas.answers import encode_answer

log = structlog.get_logger(__name__)

_FIRST_DELAY: Final = 0.1
_LONGEST_DELAY: Final = 5.0
_TIMEOUT: Final = 5.0
_AWAY: Final = (RedisError, *POSTGRES_ERRORS)


class CacheRefresher:
    """Stores the latest answer of the pets it is told of, a mark for purged ones; `stale` are those still to do.

    Every method raises asyncpg.SyntaxOrAccessError when the database refuses the statements themselves.
    """

    def __init__(
        self, *, reader: ClusterReader, cache: AnswerCache, purges: PurgeRecords, metrics: ProjectorMetrics
    ) -> None:
        self._reader = reader
        self._purges = purges
        self._cache = cache
        self._metrics = metrics
        self._delay = _FIRST_DELAY
        self._retry_at = 0.0
        self.stale: dict[str, None] = {}
        self._purged: set[str] = set()

    async def refresh(self, pets: Collection[str], purged: Collection[str] = ()) -> None:
        """Bring these pets to the cache now, or remember them while Redis is known to be away.

        `purged`: those whose receipts are to say when their answer was seen to be gone.
        """
        self.stale.update(dict.fromkeys(pets))
        self._purged.update(purged)
        if asyncio.get_running_loop().time() >= self._retry_at:
            await self._store(list(dict.fromkeys(pets)))
        self._metrics.stale_pets.set(len(self.stale))

    async def retry(self) -> None:
        """Try again what is still stale, when its time has come."""
        if self.stale:
            await self.refresh(list(self.stale))

    async def _store(self, pets: list[str]) -> None:
        for pet_id in pets:
            try:
                async with asyncio.timeout(_TIMEOUT):
                    await self._store_one(pet_id)
            except asyncpg.SyntaxOrAccessError:
                raise  # no waiting mends a schema or a grant
            except _AWAY as error:
                self._metrics.cache_errors.inc()
                self._retry_at = asyncio.get_running_loop().time() + self._delay
                log.warning("cache_refresh_failed", error=repr(error), stale=len(self.stale), retry_in=self._delay)
                self._delay = min(2 * self._delay, _LONGEST_DELAY)
                # To the end, so that a pet whose answer cannot be read holds up no other.
                self.stale.pop(pet_id, None)
                self.stale[pet_id] = None
                return
            self.stale.pop(pet_id, None)
            self._delay = _FIRST_DELAY

    async def _store_one(self, pet_id: str) -> None:
        answer = await self._reader.latest_answer(pet_id)
        if answer is not None:
            await self._cache.put(pet_id, encode_answer(answer), answer.generation, answer.version)
        elif position := await self._purges.position(pet_id):
            await self._cache.put_mark(pet_id, *position)
        else:
            await self._cache.invalidate(pet_id)
        if pet_id in self._purged:
            await self._purges.note_cache_removed(pet_id)
            self._purged.discard(pet_id)
