"""Keeps what a rebuild tells where the API can read it, once a second. Used by `run.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

from msgspec.structs import replace
from redis.exceptions import RedisError

from app.progress import Display
from projections.rebuild_progress import ProgressBoard, RebuildProgress
from schemas.headers import timestamp, utc_now

EVERY_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 2.0
FIGURES: Final = {"done", "total", "per_second", "events_per_second", "seconds_left"}


class Recorder:
    """Takes what a display is told. While Redis is away, the rebuild goes on and says so once."""

    def __init__(
        self, board: ProgressBoard, display: Display, projection: str, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._board = board
        self._display = display
        self._clock = clock
        now = timestamp(clock())
        self._now = RebuildProgress(projection=projection, state="running", step="", started_at=now, updated_at=now)
        self._away = False

    def told(self, step: str, details: dict[str, Any]) -> None:
        """A step, or its newest figures."""
        self._now = replace(
            self._now,
            step=step,
            done=details.get("done", 0),
            total=details.get("total", 0),
            per_second=details.get("per_second", details.get("events_per_second", 0.0)),
            seconds_left=details.get("seconds_left"),
            details={name: str(value) for name, value in details.items() if name not in FIGURES},
        )

    @asynccontextmanager
    async def recording(self) -> AsyncIterator[None]:
        """Keep it for as long as the block runs; at its end how it has ended."""
        keeping = asyncio.create_task(self._keep())
        try:
            yield
        except BaseException as error:
            self._now = replace(self._now, state="failed", error=str(error) or type(error).__name__)
            raise
        else:
            self._now = replace(self._now, state="ended")
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await self._put()

    async def _keep(self) -> None:
        while True:
            await self._put()
            await asyncio.sleep(EVERY_SECONDS)

    async def _put(self) -> None:
        if not self._now.step:
            return  # it was refused before it began: another one may be at it
        self._now = replace(self._now, updated_at=timestamp(self._clock()))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._board.put(self._now)
        except (RedisError, OSError) as error:
            if not self._away:
                self._away = True
                self._display.say("progress is not kept for the API", reason=f"Redis: {type(error).__name__}")
