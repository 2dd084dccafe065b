"""The current answer of a pet, read through the cache: Redis, else Postgres, then Redis. Used by the views.

Redis has it ────────────────────────────▶ its bytes, called stale while Postgres is away
it has not ── one query a pet at a time ─▶ Postgres's answer, put into Redis by compare-and-set
Redis is away ── nobody waits for it ────▶ Postgres's answer; with Postgres away too an error at once
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import msgspec
import structlog
from redis.exceptions import RedisError

from projections.away import POSTGRES_ERRORS
from projections.cache import CachedAnswer
from projections.reachable import PERIOD, Reachable
from projections.single_flight import SingleFlight
from projections.within import within
from schemas.answers import ClusterAnswer, encode_answer
from schemas.public import JobState
from schemas.telemetry import Counter, Gauge, Unmeasured

log = structlog.get_logger(__name__)

CACHE_ERRORS: Final = (RedisError, OSError, TimeoutError, asyncio.IncompleteReadError)
"""What redis-py raises while Redis is away."""
PING_SECONDS: Final = 2.0
"""How long Postgres may take to answer a ping."""

_UNMEASURED: Final = Unmeasured()

Origin = Literal["cache", "stale", "store", "shared"]
"""From Redis; from Redis while Postgres is away; from Postgres; from Postgres by another caller's query."""
Why = Literal["hit", "miss", "behind", "unused", "away"]
"""Why the cache was enough, or was not: it had nothing, or too little; it is not to be used, or is away."""


class AnswerStore(Protocol):
    """Postgres; see `projections.reader.ClusterReader`. Raises `POSTGRES_ERRORS` while it is away."""

    async def latest_answer(self, pet_id: str) -> ClusterAnswer | None:
        """The answer at the pet's last version."""
        ...

    async def ping(self) -> None:
        """Returns when Postgres answers."""
        ...


class Cache(Protocol):
    """Redis; see `projections.cache.AnswerCache`. Raises `CACHE_ERRORS` while it is away."""

    async def find(self, pet_id: str) -> CachedAnswer | None:
        """The cached answer. Ends by itself, with TimeoutError, when Redis takes too long."""
        ...

    async def put(self, pet_id: str, answer: bytes, generation: int, version: int) -> bool:
        """Store unless a newer one is stored."""
        ...

    async def ping(self) -> None:
        """Returns when Redis answers."""
        ...


class Read(msgspec.Struct, frozen=True):
    """An answer's bytes and version, None and 0 for a pet without clusters; and how it was come by.

    `stored`: whether the cache has taken it. `silent_for`: of a stale one, seconds since Postgres answered last.
    `job`: the state of the job that was waited for.
    """

    answer: bytes | None
    version: int
    origin: Origin
    why: Why = "hit"
    stored: bool = False
    silent_for: float = 0.0
    job: JobState | None = None


@dataclass(frozen=True, slots=True)
class ReadMetrics:
    """`reads(origin)`, with "none" for a pet without clusters; `failures(operation)` of Redis; `away(store)`."""

    reads: Callable[[str], Counter] = lambda origin: _UNMEASURED
    failures: Callable[[str], Counter] = lambda operation: _UNMEASURED
    away: Callable[[str], Gauge] = lambda store: _UNMEASURED


@dataclass(frozen=True, slots=True)
class _Fetched:
    """What one query has found, and whether the cache has taken it."""

    answer: bytes | None
    version: int
    stored: bool


class ReadThrough:
    """Reads current answers. `start` begins to watch the stores; before that they are taken to be there.

    `cache`: None reads Postgres only. `cache_seconds`: how long a put into Redis or a ping of it may take.
    `store_seconds`: how long a call of Postgres may take. `period`: seconds between two pings of a store.
    """

    def __init__(
        self,
        *,
        store: AnswerStore,
        cache: Cache | None,
        cache_seconds: float,
        store_seconds: float,
        metrics: ReadMetrics | None = None,
        period: float = PERIOD,
    ) -> None:
        metrics = metrics or ReadMetrics()
        self._store = store
        self._cache = cache
        self._cache_seconds = cache_seconds
        self._store_seconds = store_seconds
        self._failures = metrics.failures
        self._reads = {origin: metrics.reads(origin) for origin in ("cache", "stale", "store", "shared", "none")}
        self._flights = SingleFlight[_Fetched]()
        self._store_watch = Reachable(
            "postgres",
            store.ping,
            seconds=min(PING_SECONDS, store_seconds),
            period=period,
            away_gauge=metrics.away("postgres"),
        )
        self._cache_watch: Reachable | None = None
        if cache is not None:
            gauge = metrics.away("redis")
            self._cache_watch = Reachable("redis", cache.ping, seconds=cache_seconds, period=period, away_gauge=gauge)

    async def start(self) -> None:
        """Begin to watch the stores."""
        for watch in self._watches():
            await watch.start()

    async def stop(self) -> None:
        """End; a second call does nothing."""
        for watch in self._watches():
            await watch.stop()

    async def read(self, pet_id: str, at_least: int = 0) -> Read:
        """The current answer: the cached one when its version is not below `at_least`, else Postgres's.

        That one may be below, and of a moment before the call where another caller's query was under way. Raises
        `POSTGRES_ERRORS` when Postgres is needed and does not answer.
        """
        cached, why = await self._from_cache(pet_id)
        if cached is not None:
            if cached.version >= at_least:
                return self._hit(cached)
            why = "behind"
        self.refuse_while_away()
        fetched, shared = await self._flights.do(pet_id, lambda: self._fetch(pet_id))
        origin: Origin = "shared" if shared else "store"
        self._reads[origin if fetched.answer is not None else "none"].inc()
        return Read(fetched.answer, fetched.version, origin, why, fetched.stored)

    def refuse_while_away(self) -> None:
        """Raises ConnectionError while Postgres is known to be away, so that nobody waits for what will not come."""
        if self._store_watch.away:
            raise ConnectionError(f"Postgres has not answered for {self._store_watch.silent_for():.0f} s")

    def suspect_store(self) -> None:
        """A request to Postgres has failed."""
        self._store_watch.suspect()

    def _hit(self, cached: CachedAnswer) -> Read:
        if self._store_watch.away:
            self._reads["stale"].inc()
            return Read(cached.answer, cached.version, "stale", silent_for=self._store_watch.silent_for())
        self._reads["cache"].inc()
        return Read(cached.answer, cached.version, "cache")

    async def _from_cache(self, pet_id: str) -> tuple[CachedAnswer | None, Why]:
        """The cached answer, or why there is none."""
        if self._cache is None or self._cache_watch is None:
            return None, "unused"
        if self._cache_watch.away:
            return None, "away"
        try:
            return await self._cache.find(pet_id), "miss"
        except CACHE_ERRORS as error:
            self._cache_failed(self._cache_watch, "get", error)
            return None, "away"

    async def _fetch(self, pet_id: str) -> _Fetched:
        """Ask Postgres and tell Redis, on behalf of all who wait for it."""
        try:
            answer = await within(self._store_seconds, self._store.latest_answer(pet_id))
        except POSTGRES_ERRORS:
            self._store_watch.suspect()
            raise
        if answer is None:
            return _Fetched(None, 0, stored=False)
        encoded = encode_answer(answer)
        return _Fetched(encoded, answer.version, await self._to_cache(answer, encoded))

    async def _to_cache(self, answer: ClusterAnswer, encoded: bytes) -> bool:
        if self._cache is None or self._cache_watch is None or self._cache_watch.away:
            return False
        try:
            async with asyncio.timeout(self._cache_seconds):
                return await self._cache.put(answer.pet_id, encoded, answer.generation, answer.version)
        except CACHE_ERRORS as error:
            self._cache_failed(self._cache_watch, "put", error)
            return False

    def _cache_failed(self, watch: Reachable, operation: str, error: BaseException) -> None:
        watch.suspect()
        self._failures(operation).inc()
        log.warning("cache_failed", operation=operation, error=f"{type(error).__name__}: {error}")

    def _watches(self) -> tuple[Reachable, ...]:
        return (self._store_watch,) if self._cache_watch is None else (self._store_watch, self._cache_watch)
