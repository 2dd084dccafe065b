"""Looks at Postgres and Redis all the time while faults strike, and keeps what no later look could tell. Run by run.py.

One sample: the cached version of every pet, then the versions in Postgres. In that order the cache can never be ahead.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from projections.away import POSTGRES_ERRORS
from projections.cache import stored_position
from tests.faults.ledger import JobKey
from tests.faults.stack import Outages

PERIOD_SECONDS: Final = 0.25
PATIENCE_SECONDS: Final = 3.0
CACHE_BOUND_SECONDS: Final = 30.0
"""How long a cached answer may stay behind Postgres, from when everything that refreshes it is back."""
REFRESHERS: Final = ("redis", "postgres", "project", "kafka")
TAIL_BYTES: Final = 64


@dataclass
class Observations:
    """What the samples told. `ended`: job → the last run that was seen to have ended, `ended_at`: since when."""

    samples: int = 0
    versions: dict[str, int] = field(default_factory=dict)
    cached: dict[str, int] = field(default_factory=dict)
    ended: dict[JobKey, int] = field(default_factory=dict)
    ended_at: dict[JobKey, float] = field(default_factory=dict)
    not_monotonic: list[str] = field(default_factory=list)
    ahead: list[str] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)
    longest_behind: float = 0.0


class Watch:
    """`run` until cancelled."""

    def __init__(self, database_url: str, cache_url: str, namespace: str, outages: Outages) -> None:
        self.seen = Observations()
        self._database_url = database_url
        self._redis: Any = Redis.from_url(cache_url, socket_timeout=PATIENCE_SECONDS, socket_connect_timeout=1.0)
        self._prefix = f"{namespace}:state:"
        self._outages = outages
        self._connection: Any = None
        self._behind_since: dict[str, float] = {}

    async def run(self) -> None:
        """Sample until cancelled; what is away is skipped."""
        try:
            while True:
                await self.sample()
                await asyncio.sleep(PERIOD_SECONDS)
        finally:
            await self._redis.aclose()
            self._disconnect()

    async def sample(self) -> bool:
        """Look once; False when Postgres is away."""
        cached = await self._cached()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                versions, jobs = await self._rows()
        except POSTGRES_ERRORS:
            self._disconnect()
            return False
        self.seen.samples += 1
        self._note_versions(versions)
        if cached is not None:
            self._note_cached(cached, {pet: last for pet, last, _, _ in versions})
        now = time.monotonic()
        for pet_id, job_id, run in jobs:
            self.seen.ended[(pet_id, job_id)] = run
            self.seen.ended_at.setdefault((pet_id, job_id), now)
        return True

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _cached(self) -> dict[str, int] | None:
        """Pet → cached version of the pets that are known and cached; None while Redis is away."""
        pets = list(self.seen.versions)
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for pet in pets:
                    pipe.getrange(self._prefix + pet, -TAIL_BYTES, -1)
                tails = await pipe.execute()
        except (RedisError, OSError, TimeoutError, asyncio.IncompleteReadError):
            return None
        found = {pet: stored_position(tail) for pet, tail in zip(pets, tails, strict=True)}
        return {pet: position[1] for pet, position in found.items() if position}

    async def _rows(self) -> tuple[list[tuple[str, int, int, int]], list[tuple[str, str, int]]]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(self._database_url)
        versions = await self._connection.fetch(
            "SELECT pet_id, max(version) AS last, min(version) AS first, count(*) AS rows FROM pet_clusters GROUP BY 1"
        )
        jobs = await self._connection.fetch(
            "SELECT pet_id, job_id, run FROM cluster_jobs WHERE status IN ('succeeded', 'failed')"
        )
        return [tuple(row) for row in versions], [tuple(row) for row in jobs]

    def _note_versions(self, versions: list[tuple[str, int, int, int]]) -> None:
        told = {pet for pet, *_ in versions}
        for pet in self.seen.versions.keys() - told:
            self.seen.not_monotonic.append(f"{pet}: had version {self.seen.versions[pet]}, now has none")
        for pet, last, first, rows in versions:
            if (first, rows) != (1, last):
                self.seen.not_monotonic.append(f"{pet}: {rows} rows from version {first} to {last}")
            if last < self.seen.versions.get(pet, 0):
                self.seen.not_monotonic.append(f"{pet}: went back from {self.seen.versions[pet]} to {last}")
            self.seen.versions[pet] = last

    def _note_cached(self, cached: dict[str, int], versions: dict[str, int]) -> None:
        now = time.monotonic()
        back_since = max((end for name in REFRESHERS for _, end in self._outages.spans[name]), default=0.0)
        for pet, version in cached.items():
            last = versions.get(pet, 0)
            if version > last:
                self.seen.ahead.append(f"{pet}: cached {version}, Postgres has {last}")
            if version >= last:
                self._behind_since.pop(pet, None)
                continue
            since = max(self._behind_since.setdefault(pet, now), back_since)
            self.seen.longest_behind = max(self.seen.longest_behind, now - since)
            if now - since > CACHE_BOUND_SECONDS:
                self.seen.behind.append(f"{pet}: cached {version} for {now - since:.0f} s, Postgres has {last}")
        for pet in self._behind_since.keys() - cached.keys():
            del self._behind_since[pet]
        self.seen.cached = cached
