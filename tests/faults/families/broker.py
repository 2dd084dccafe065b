"""The Kafka broker dies or is restarted."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from tests.faults.fault import Fault
from tests.faults.servers import start
from tests.faults.stack import Stack


class BrokerKill(Fault):
    """SIGKILL, away for a while, back with its data."""

    family: ClassVar[str] = "broker_kill"

    async def inject(self, stack: Stack) -> None:
        """Kill it."""
        await asyncio.to_thread(stack.servers.kafka.kill)

    async def heal(self, stack: Stack) -> None:
        """Start it again."""
        await start(stack.servers.kafka)


class BrokerRestart(BrokerKill):
    """A restart in good order."""

    family: ClassVar[str] = "broker_restart"

    async def inject(self, stack: Stack) -> None:
        """Stop it."""
        await asyncio.to_thread(stack.servers.kafka.stop)
