"""How long the service takes to recover: from the end of a fault until a job submitted right then has succeeded.

Other faults may strike meanwhile; what they take counts too, so the figures are upper bounds.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

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
        self.open.add(asyncio.create_task(self._probe(fault, self._count)))

    async def close(self, within: float) -> None:
        """Wait for the open probes; what never succeeds is the audit's business."""
        if self.open:
            _, late = await asyncio.wait(self.open, timeout=within)
            for task in late:
                task.cancel()

    async def _probe(self, fault: str, number: int) -> None:
        begun = time.monotonic()
        pet_id, job_id = f"probe-{number % 3}", f"probe-{number}"
        await self.submitter.add(pet_id, job_id, (f"probe-image-{number}",))
        await until(lambda: (pet_id, job_id) in self.seen.ended_at)
        self.seconds.setdefault(fault, []).append(round(self.seen.ended_at[(pet_id, job_id)] - begun, 2))
