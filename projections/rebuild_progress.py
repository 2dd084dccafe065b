"""How far rebuilds are, in Redis, for everybody who looks on. Written by `app.rebuild`, read by the API.

Nothing is decided by it: what a rebuild goes on from stands where its rows are. The newest of each projection is kept
for a week.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from redis.asyncio import Redis

PROJECTIONS: Final = ("postgres", "redis", "tables", "republish")
KEPT_SECONDS: Final = 7 * 86_400

RebuildState = Literal["running", "ended", "failed"]


class RebuildProgress(msgspec.Struct, frozen=True, kw_only=True):
    """A rebuild. `step`: what it does, and `details` what came of that; `done`, `total`: of what can be counted there,
    `per_second` at that rate, `seconds_left` None while that is not known. Times are RFC 3339; `updated_at` of one that
    runs is never older than a few seconds, unless it was killed.
    """

    projection: str
    state: RebuildState
    step: str
    started_at: str
    updated_at: str
    done: int = 0
    total: int = 0
    per_second: float = 0.0
    seconds_left: float | None = None
    details: dict[str, str] = {}
    error: str = ""


_decoder: Final = msgspec.json.Decoder(RebuildProgress)


class ProgressBoard:
    """Under ``{namespace}:rebuild:{projection}``. Both methods raise redis.RedisError while Redis is away."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._namespace = namespace

    async def put(self, progress: RebuildProgress) -> None:
        """In place of the projection's last one."""
        key = self._key(progress.projection)
        await self._redis.set(key, msgspec.json.encode(progress), ex=KEPT_SECONDS)

    async def list(self) -> list[RebuildProgress]:
        """The newest of each projection, the one that was begun last first."""
        found = await self._redis.mget([self._key(name) for name in PROJECTIONS])
        return sorted((_decoder.decode(each) for each in found if each), key=lambda each: each.started_at, reverse=True)

    def _key(self, projection: str) -> str:
        return f"{self._namespace}:rebuild:{projection}"
