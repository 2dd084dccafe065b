"""Migrations of tables that others read and write meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
import pytest
from sqlalchemy.exc import SQLAlchemyError

from projections.migrate import current, head, upgrade
from projections.urls import driver_url
from schemas.errors import StopProcess
from tests.integration.projections.samples import eventually

GIVE_UP_SECONDS: Final = 60
"""Far beyond the migrations' lock time-out; who waits for so long was never let through."""
WAITING: Final = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1"


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(driver_url(url))
    try:
        yield connection
    finally:
        await connection.close()


async def until_waiting(connection: Any, statement: str) -> None:
    await eventually(lambda: connection.fetchval(WAITING, statement), GIVE_UP_SECONDS)


async def invalid_indexes(connection: Any) -> list[str]:
    rows = await connection.fetch("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid")
    return [row[0] for row in rows]


@pytest.mark.parametrize("table", ["cluster_jobs", "cluster_job_commands"])
async def test_a_reader_that_does_not_end_holds_up_no_other_reader(database_url: str, table: str) -> None:
    upgrade(database_url, "0001")
    async with connected(database_url) as slow, connected(database_url) as other:
        reading = slow.transaction()
        await reading.start()
        await slow.fetch(f"SELECT * FROM {table}")

        migrating = asyncio.create_task(asyncio.to_thread(upgrade, database_url))
        await until_waiting(other, f"ALTER TABLE {table}%")
        assert await other.fetch(f"SELECT * FROM {table}", timeout=GIVE_UP_SECONDS) == []
        with pytest.raises(StopProcess, match="run it again"):
            await migrating

        await reading.rollback()
        await asyncio.to_thread(upgrade, database_url)
        assert current(database_url) == head()


@pytest.mark.parametrize(
    ("begun", "index", "revision"),
    [
        ("0001", "cluster_job_commands_next_key", "0001"),
        ("0002", "cluster_jobs_without_end", "0002"),
        ("0003", "cluster_members_begun", "0003"),
        ("0004", "cluster_members_ended", "0004"),
        ("0009", "cluster_members_near_duplicates", "0009"),
        ("0010", "cluster_summaries_lineage", "0010"),
    ],
)
async def test_a_migration_that_was_killed_while_it_built_an_index_is_repeated(
    database_url: str, begun: str, index: str, revision: str
) -> None:
    upgrade(database_url, begun)
    async with connected(database_url) as slow, connected(database_url) as other:
        # A build waits at its end for every snapshot that is older.
        reading = slow.transaction(isolation="repeatable_read")
        await reading.start()
        await slow.fetch("SELECT * FROM pet_clusters")

        migrating = asyncio.create_task(asyncio.to_thread(upgrade, database_url))
        await until_waiting(other, f"CREATE %INDEX CONCURRENTLY {index}%")
        # Meanwhile everybody reads and writes on.
        await other.execute("DELETE FROM cluster_job_commands", timeout=GIVE_UP_SECONDS)
        await other.execute("DELETE FROM cluster_jobs", timeout=GIVE_UP_SECONDS)
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE $1", f"CREATE %{index}%"
        )
        with pytest.raises((SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            await migrating
        assert current(database_url) == revision
        assert await invalid_indexes(other) == [index]

        await reading.rollback()
        await asyncio.to_thread(upgrade, database_url)
        assert current(database_url) == head()
        assert await invalid_indexes(other) == []


async def test_the_key_of_commands_is_a_primary_key_again(database_url: str) -> None:
    upgrade(database_url)
    async with connected(database_url) as connection:
        key = await connection.fetchval(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'cluster_job_commands_pkey'"
        )
    assert key == "PRIMARY KEY (cluster_job_id, run, requeue, part, attempt)"
