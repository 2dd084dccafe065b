"""Waiting between tries, longer each time, cut short when the loop is to stop. Used by the loops of this package."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass, field


@dataclass
class Backoff:
    """Exponential with jitter: wait n lasts between half and all of ``first · 2ⁿ`` seconds, at most `cap`.

    `stopping` ends a wait at once.
    """

    stopping: asyncio.Event
    first: float = 0.1
    cap: float = 10.0
    _tries: int = field(default=0, init=False)

    @property
    def tries(self) -> int:
        """How many waits since the last reset."""
        return self._tries

    def reset(self) -> None:
        """Start again with the shortest wait."""
        self._tries = 0

    async def wait(self) -> None:
        """Sleep before the next try."""
        delay = min(self.cap, self.first * 2 ** min(self._tries, 20)) * random.uniform(0.5, 1)
        self._tries += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), delay)
