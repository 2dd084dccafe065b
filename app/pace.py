"""At most so much a second. Used by the backfill, by comparisons, and by rebuilds that others feel."""

from __future__ import annotations

import asyncio


class Pace:
    """`rate`: units a second, infinite for no limit. What was not used is not saved up."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._due = 0.0

    async def wait(self, units: int = 1) -> None:
        """Returns when what was let through before has had its time; then the next waits for these `units`."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._due - loop.time()))
        self._due = max(self._due, loop.time()) + units / self._rate
