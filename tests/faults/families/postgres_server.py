"""Postgres is killed in mid-commit, restarted, or cuts all connections."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import asyncpg

from tests.faults.fault import Fault
from tests.faults.servers import start
from tests.faults.stack import Stack


class PostgresKill(Fault):
    """SIGKILL of the postmaster and all its backends, whatever they are committing."""

    family: ClassVar[str] = "postgres_kill"

    async def inject(self, stack: Stack) -> None:
        """Kill it."""
        await asyncio.to_thread(stack.servers.postgres.kill)

    async def heal(self, stack: Stack) -> None:
        """Start it again; it recovers from its log."""
        await start(stack.servers.postgres)


class PostgresRestart(PostgresKill):
    """A fast shutdown, which rolls back what is under way, and a start."""

    family: ClassVar[str] = "postgres_restart"

    async def inject(self, stack: Stack) -> None:
        """Stop it."""
        await asyncio.to_thread(stack.servers.postgres.stop)


class PostgresDisconnect(Fault):
    """Every connection to the database is terminated, a few times over."""

    family: ClassVar[str] = "postgres_disconnect"

    async def inject(self, stack: Stack) -> None:
        """Cut all, three times at random moments."""
        connection = await asyncpg.connect(stack.servers.postgres.url)
        try:
            for _ in range(3):
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'media'"
                )
                await asyncio.sleep(self.rng.uniform(0.05, 0.4))
        finally:
            await connection.close()
