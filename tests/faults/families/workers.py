"""Processes that die: SIGKILL, SIGTERM; workers that join and leave. The supervisor restarts what dies by itself."""

from __future__ import annotations

import asyncio
import signal
from typing import ClassVar

from tests.faults.fault import Fault, NotNow
from tests.faults.stack import Stack
from tests.faults.waiting import until


class Kill(Fault):
    """SIGKILL, whatever is under way."""

    family: ClassVar[str] = "kill"

    async def inject(self, stack: Stack) -> None:
        """A role that is between two lives dies at once in its next."""
        await until(lambda: stack.service.send(self.target, signal.SIGKILL, "kill"))


class KillInFlight(Fault):
    """SIGKILL while the broker keeps everybody waiting: some of what the process wrote has arrived, some has not."""

    family: ClassVar[str] = "kill_in_flight"

    async def inject(self, stack: Stack) -> None:
        """Freeze the broker for a moment, kill the process in it."""
        broker = stack.servers.kafka._process.identity()
        if broker is None:
            raise NotNow("the broker is away")
        broker.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(self.rng.uniform(0.2, 1.0))
            struck = stack.service.send(self.target, signal.SIGKILL, "kill in flight")
        finally:
            broker.send(signal.SIGCONT)
        if not struck:
            raise NotNow(f"{self.target} is away")


class Term(Fault):
    """SIGTERM, as a deploy does."""

    family: ClassVar[str] = "term"

    async def inject(self, stack: Stack) -> None:
        """As `Kill`."""
        await until(lambda: stack.service.send(self.target, signal.SIGTERM, "term"))


class SecondWorker(Fault):
    """Another worker of the role joins, and leaves again: two rebalances in mid-stream."""

    family: ClassVar[str] = "second_worker"

    async def inject(self, stack: Stack) -> None:
        """Join."""
        stack.service.keep(f"{self.target}-2")

    async def heal(self, stack: Stack) -> None:
        """Leave, with or without a word."""
        await stack.service.leave(f"{self.target}-2", self.rng.choice([signal.SIGTERM, signal.SIGKILL]))
