"""Ends waits that take too long, all of them by one timer. Used by `projections.grouped_gets`."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any


class Patience:
    """Waits of `seconds` each, from when they are begun.

    `asyncio.timeout` sets and cancels a timer a wait, which costs more than the wait's share of a question to Redis.
    Waits that last equally long end in the order in which they began, so that one timer for the oldest is enough.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waits = deque[tuple[float, asyncio.Future[Any]]]()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, told: asyncio.Future[Any]) -> None:
        """From now on; whoever awaits `told` gets TimeoutError unless it is done before."""
        waits = self._waits
        while waits and waits[0][1].done():
            waits.popleft()
        loop = told.get_loop()
        until = loop.time() + self._seconds
        waits.append((until, told))
        if self._timer is None:
            self._timer = loop.call_at(until, self._ring, loop)

    def __len__(self) -> int:
        """How many are remembered: those that are not over, and some that are."""
        return len(self._waits)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        waits, now = self._waits, loop.time()
        while waits and (waits[0][1].done() or waits[0][0] <= now):
            _, told = waits.popleft()
            if not told.done():
                told.set_exception(TimeoutError(f"no answer in {self._seconds:g} s"))
        self._timer = loop.call_at(waits[0][0], self._ring, loop) if waits else None
