"""What Postgres holds of one pet, in one snapshot. Used by `partition`; every statement reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import asyncpg

from projections.bulk_rows import COLUMNS, VERSIONED
from projections.queries import load
from projections.urls import driver_url
from projections.verify.decided import TABLE
from projections.verify.frontier import Settled
from projections.verify.rows import LiveRows

PETS_AT_A_TIME: Final = 1_000


async def open_reader(database_url: str, ssl_mode: str) -> Any:
    """A connection on which Postgres refuses every write."""
    return await asyncpg.connect(
        driver_url(database_url),
        ssl=ssl_mode,
        server_settings={
            "application_name": "media-verify",
            "default_transaction_read_only": "on",
            "statement_timeout": "0",
            "timezone": "UTC",
            "jit": "off",
        },
    )


async def read_pet(connection: Any, pet_id: str, settled: Settled) -> LiveRows:
    """The pet's rows. A transaction a pet, so that no snapshot stays open for long."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        must = await settled.projected(connection)
        rows = {
            table: [
                tuple(row)
                for row in await connection.fetch(
                    load("read_rows_of_pet").replace("{columns}", ", ".join(columns)).replace("{table}", table), pet_id
                )
            ]
            for table, columns in {**VERSIONED, TABLE: COLUMNS[TABLE]}.items()
        }
        snapshots = [tuple(row) for row in await connection.fetch(load("read_snapshots_of_pet"), pet_id)]
        pinned = frozenset(row["version"] for row in await connection.fetch(load("list_pins"), pet_id))
        generation = await connection.fetchval(load("read_generation"))
    return LiveRows(rows, snapshots, pinned, generation, must)


async def pets_of_partition(connection: Any, partition: int) -> AsyncIterator[str]:
    """The pets whose versions say that they are of this partition of the log."""
    after = ""
    while rows := await connection.fetch(load("list_pets_of_partition"), partition, after, PETS_AT_A_TIME):
        for row in rows:
            yield row["pet_id"]
        after = rows[-1]["pet_id"]
