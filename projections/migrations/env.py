"""Alembic's entry: runs the migrations over asyncpg, one process at a time. Configured by `projections.migrate`."""

from __future__ import annotations

import asyncio
from typing import Final

from alembic import context
from sqlalchemy import Connection, NullPool, text
from sqlalchemy.ext.asyncio import create_async_engine

from projections.migrate import sqlalchemy_engine_arguments

_LOCK: Final = 7_316_420_931
"""Key of the advisory lock that lets one process migrate at a time."""
_POLL_SECONDS: Final = 0.1


def _migrate(connection: Connection) -> None:
    # A migration a transaction: what one locks, the next does not hold.
    context.configure(connection=connection, target_metadata=None, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


async def _run() -> None:
    url, arguments = sqlalchemy_engine_arguments(context.config.attributes["database_url"])
    engine = create_async_engine(url, poolclass=NullPool, connect_args=arguments)
    try:
        async with engine.connect() as connection:
            # Asked again and again rather than waited for: a session that waits for a lock holds a snapshot, and
            # CREATE INDEX CONCURRENTLY in the process that migrates would wait for that snapshot for ever.
            while not await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}):
                await connection.commit()
                await asyncio.sleep(_POLL_SECONDS)
            # Ends the transaction that the SELECT began: Alembic leaves one that it finds open to its caller.
            await connection.commit()
            try:
                await connection.run_sync(_migrate)
                await connection.commit()
            finally:
                await connection.rollback()
                await connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
                await connection.commit()
    finally:
        await engine.dispose()


asyncio.run(_run())
