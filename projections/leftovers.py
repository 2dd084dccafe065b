"""What Postgres still holds of a purged pet, also in tables that this release does not know. Used by `app.purges`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from projections.queries import load

RECEIPTS: Final = ("pet_purges", "purged_versions")
"""Tables that tell of purges themselves, and hold no image."""
_BEFORE: Final = (
    ("enqueued_at", "enqueued_at <= $3"),
    ("failed_at", "failed_at <= $4"),
    ("at", "at <= $4"),
    ("decided_at", "decided_at <= $4"),
    ("since_version", "since_version <= $2"),
    ("version", "version <= $2"),
)
"""Column → what makes a row older than the purge; the first that a table has counts. Without any, every row does."""


async def count_leftovers(
    connection: Any, pet_id: str, last_version: int, accepted_until: datetime, purged_at: datetime
) -> dict[str, int]:
    """Rows of before the purge, by every table of every schema that has a column `pet_id`."""
    found = {}
    purged = max(accepted_until, purged_at)
    for row in await connection.fetch(load("list_tables_of_pets")):
        if row["name"] in RECEIPTS:
            continue
        table = f'"{row["schema"]}"."{row["name"]}"'
        statement = (
            load("count_rows_before_purge").replace("{table}", table).replace("{before}", before(row["columns"]))
        )
        found[f"{row['schema']}.{row['name']}"] = await connection.fetchval(
            statement, pet_id, last_version, accepted_until, purged
        )
    return found


def before(columns: Sequence[str]) -> str:
    """The condition on a table of these columns."""
    return next((condition for column, condition in _BEFORE if column in columns), "true")
