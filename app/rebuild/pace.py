"""Holds a rate. Used by the rebuilds that others feel: `cache.py` and `republish.py`."""

from __future__ import annotations

import asyncio
import time


class Pace:
    """`rate`: turns a second, evenly; what was late is not made up for in a burst of more than a second's turns."""

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._next = time.monotonic()

    async def turn(self) -> None:
        """Wait for the next turn."""
        now = time.monotonic()
        self._next = max(self._next, now - 1) + self._interval
        await asyncio.sleep(max(0.0, self._next - now))
