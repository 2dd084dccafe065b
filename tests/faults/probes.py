"""How long the service takes to recover: from the end of a fault until a job submitted right then has succeeded.

Other faults may strike meanwhile; what they take counts too, so the figures are upper bounds.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from tests.faults.ledger import Order
from tests.faults.load import Submitter
from tests.faults.waiting import until
from tests.faults.watch import Observations


@dataclass
class Probes:
    """`seconds`: fault → recovery times. `open`: probes that have not succeeded yet."""

    submitter: Submitter
    seen: Observations
    seconds: dict[str, list[float]] = field(default_factory=dict)
    open: set[asyncio.Task[None]] = field(default_factory=set)
    _count: int = 0

    def start(self, fault: str) -> None:
        """Submit a probe now, and note when it has succeeded."""
        self._count += 1
        name = f"probe {self._count} behind {fault}"
        self.open.add(asyncio.create_task(self._probe(fault, self._count), name=name))

    async def close(self, within: float) -> list[str]:
        """Wait for the open probes; returns what went wrong with them, in words."""
        if not self.open:
            return []
        done, late = await asyncio.wait(self.open, timeout=within)
        for task in late:
            task.cancel()
        wrong = [f"{task.get_name()}: {error!r}" for task in done if (error := task.exception()) is not None]
        return wrong + [f"{task.get_name()}: has not succeeded" for task in late]

    async def _probe(self, fault: str, number: int) -> None:
        begun = time.monotonic()
        wanted = Order(f"probe-{number % 3}", f"probe-{number}", (f"probe-image-{number}",))
        await self.submitter.add(wanted)
        await until(lambda: wanted.key in self.seen.ended_at)
        self.seconds.setdefault(fault, []).append(round(self.seen.ended_at[wanted.key] - begun, 2))
