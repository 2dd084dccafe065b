"""The shadow's tables: made like the live ones, with their indexes and keys, moved between schemas, dropped.

Made from what Postgres itself tells of the live tables, so that no migration has to be written twice.
"""

from __future__ import annotations

from typing import Any, Final

from projections.queries import load

TABLES: Final = (
    *("pet_clusters", "cluster_members", "cluster_heroes", "cluster_summaries", "cluster_snapshots"),
    *("pet_decisions", "purged_versions"),
)
"""What follows from the log alone; jobs and dead letters follow from other topics."""
LIVE: Final = "public"


def shadow_name(generation: int) -> str:
    """The schema in which a generation is built."""
    return f"media_shadow_{generation}"


def kept_name(generation: int) -> str:
    """The schema that keeps what a generation has replaced."""
    return f"media_before_{generation}"


async def create(connection: Any, schema: str) -> None:
    """Make the schema with bare tables; a repeat changes nothing. `index` makes the rest when they are filled."""
    await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    for table in TABLES:
        await connection.execute(
            f"CREATE TABLE IF NOT EXISTS {schema}.{table} (LIKE {LIVE}.{table} INCLUDING DEFAULTS INCLUDING STORAGE)"
        )


async def index(connection: Any, schema: str) -> None:
    """Add the live tables' indexes and keys, and gather statistics. A repeat changes nothing."""
    for table in TABLES:
        for key in await connection.fetch(load("list_constraints"), f"{LIVE}.{table}", [b"p", b"u", b"c"]):
            await _add(connection, schema, table, key["name"], key["definition"])
        for each in await connection.fetch(load("list_indexes"), f"{LIVE}.{table}"):
            definition = each["definition"].replace(f" ON {LIVE}.{table} ", f" ON {schema}.{table} ", 1)
            await connection.execute(definition.replace(" INDEX ", " INDEX IF NOT EXISTS ", 1))
        await connection.execute(f"ANALYZE {schema}.{table}")


async def move(connection: Any, source: str, target: str) -> None:
    """Move the tables, with all that belongs to them, into a schema; inside the caller's transaction."""
    for table in TABLES:
        await connection.execute(f"ALTER TABLE {source}.{table} SET SCHEMA {target}")


async def drop(connection: Any, schema: str) -> None:
    """Remove the schema and what is in it, if it is there."""
    await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


async def exists(connection: Any, schema: str) -> bool:
    """Whether the schema is there."""
    return bool(await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", schema))


async def _add(connection: Any, schema: str, table: str, name: str, definition: str) -> None:
    there = await connection.fetch(load("list_constraints"), f"{schema}.{table}", [b"p", b"u", b"c", b"f"])
    if name not in {key["name"] for key in there}:
        await connection.execute(f"ALTER TABLE {schema}.{table} ADD CONSTRAINT {name} {definition}")
