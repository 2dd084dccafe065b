"""One pet's rows, made anew from its versions beside the live ones, and put in their place. Used by `app.rebuild.pet`.

All of it inside the caller's transaction: rolled back, nothing of it was there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from projections.bulk_rows import COLUMNS, all_rows
from projections.queries import load
from projections.replayed import Change
from projections.shadow import schema
from projections.shadow.catch_up import apply_change
from projections.shadow.snapshots import write_snapshots

SCHEMA: Final = "media_shadow_pet"


async def build(connection: Any, changes: Sequence[Change]) -> None:
    """Make the shadow with a pet's whole history. Raises InvalidInput for a version that no column holds."""
    await schema.create(connection, SCHEMA)
    for table, rows in all_rows(changes).items():
        await connection.copy_records_to_table(table, schema_name=SCHEMA, records=rows, columns=COLUMNS[table])
    await schema.index(connection, SCHEMA)
    await write_snapshots(connection, SCHEMA)
    await connection.execute(f"SET LOCAL search_path TO {schema.LIVE}")


async def hold_projector(connection: Any, versions_topic: str) -> None:
    """From here on nobody else writes a version, until the transaction ends."""
    await connection.fetch(load("lock_positions"), versions_topic)


async def follow(connection: Any, changes: Iterable[Change]) -> None:
    """Apply to the shadow what has come since."""
    await connection.execute(f"SET LOCAL search_path TO {SCHEMA}, {schema.LIVE}")
    for change in changes:
        await apply_change(connection, change)
    await connection.execute(f"SET LOCAL search_path TO {schema.LIVE}")


async def put_in_place(connection: Any, pet_id: str) -> None:
    """The shadow's rows instead of the live ones; call `hold_projector` before."""
    for table in schema.TABLES:
        await connection.execute(f"DELETE FROM {schema.LIVE}.{table} WHERE pet_id = $1", pet_id)
        await connection.execute(f"INSERT INTO {schema.LIVE}.{table} SELECT * FROM {SCHEMA}.{table}")
    await schema.drop(connection, SCHEMA)
