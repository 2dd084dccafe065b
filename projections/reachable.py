"""Knows whether a store answers, without asking it for every request. Used by `projections.current_answers`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import structlog

from projections.within import within
from schemas.telemetry import Gauge, Unmeasured

log = structlog.get_logger(__name__)

PERIOD: Final = 1.0
_SHORTEST: Final = 0.1
"""Seconds between two pings, however many requests fail."""


class Reachable:
    """Pings a store every `period` seconds, and at once when a request has failed; only pings decide.

    `name`: in logs. `seconds`: how long a ping may take. `away_gauge`: 1 while the store is away. Before `start` it is
    taken to be there.
    """

    def __init__(
        self,
        name: str,
        ping: Callable[[], Awaitable[object]],
        *,
        seconds: float,
        period: float = PERIOD,
        away_gauge: Gauge | None = None,
    ) -> None:
        self.away = False
        self._name = name
        self._ping = ping
        self._seconds = seconds
        self._period = period
        self._gauge: Gauge = away_gauge or Unmeasured()
        self._seen = 0.0
        self._suspected = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to ping."""
        self._seen = asyncio.get_running_loop().time()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End; a second call does nothing."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def suspect(self) -> None:
        """Somebody's request has failed: ping now."""
        self._suspected.set()

    def silent_for(self) -> float:
        """Seconds since the store answered a ping last."""
        return asyncio.get_running_loop().time() - self._seen

    async def _run(self) -> None:
        while True:
            self._suspected.clear()
            await self._ask()
            await asyncio.sleep(_SHORTEST)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._suspected.wait(), self._period - _SHORTEST)

    async def _ask(self) -> None:
        try:
            await within(self._seconds, self._pinged())
        except Exception as error:  # whatever a client raises, the store did not answer
            if not self.away:
                log.warning("store_away", store=self._name, error=f"{type(error).__name__}: {error}")
            self.away = True
        else:
            if self.away:
                log.info("store_back", store=self._name, after=round(self.silent_for(), 1))
            self.away = False
            self._seen = asyncio.get_running_loop().time()
        self._gauge.set(int(self.away))

    async def _pinged(self) -> object:
        return await self._ping()
