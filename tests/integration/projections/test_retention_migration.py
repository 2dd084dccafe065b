"""Migration 0005 on data: the release before goes on over trimmed tables, and after a downgrade."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
import pytest

from projections.migrate import current, downgrade, upgrade
from projections.pins import add_pin
from projections.pool import create_pool
from projections.postgres import Applied
from projections.retention import Retention
from schemas.ids import version_key
from tests.integration.projections.samples import Album
from tests.integration.projections.test_migrations_in_use import connected, until_waiting
from tests.integration.projections.test_retention import START, VERSIONS, answers, apply, grow, versions_of

BEFORE: Final = "0004"
KEYS: Final = (
    "SELECT conname, convalidated FROM pg_constraint WHERE contype = 'f' AND confrelid = 'pet_clusters'::regclass"
)


async def keys(pool: Any) -> dict[str, bool]:
    return {row["conname"]: row["convalidated"] for row in await pool.fetch(KEYS)}


@asynccontextmanager
async def of_today(pool: Any) -> AsyncIterator[None]:
    """The statements of today ask for purges, parts of heroes and splits, which the schema does not know yet: they find
    none.
    """
    await pool.execute("CREATE TABLE purged_versions (pet_id text, last_version bigint, purged_at timestamptz)")
    await pool.execute("ALTER TABLE cluster_heroes ADD COLUMN parts jsonb")
    await pool.execute("ALTER TABLE cluster_summaries ADD COLUMN split_from integer")
    yield
    await pool.execute("DROP TABLE purged_versions")
    await pool.execute("ALTER TABLE cluster_heroes DROP COLUMN parts")
    await pool.execute("ALTER TABLE cluster_summaries DROP COLUMN split_from")


async def test_up_down_and_up_again_over_history(database_url: str) -> None:
    upgrade(database_url, BEFORE)
    async with create_pool(database_url, size=2, statement_timeout_ms=20_000, ssl_mode="disable") as pool:
        async with of_today(pool):
            album = await grow(pool, "101", 1)
            before = await answers(pool, "101")
        assert await keys(pool) == dict.fromkeys(
            ("cluster_members_cluster_id_fkey", "cluster_heroes_cluster_id_fkey"), True
        )

        upgrade(database_url)
        await pool.expire_connections()
        assert await answers(pool, "101") == before
        assert await keys(pool) == {}
        await add_pin(pool, "101", 3, who="ops", why="a complaint")
        await Retention(pool=pool, days=90, pause_s=0).trim()
        kept = [3, *range(START, VERSIONS + 1)]

        downgrade(database_url, BEFORE)
        await pool.expire_connections()
        assert current(database_url) == BEFORE
        async with of_today(pool):
            assert await answers(pool, "101") == {number: before[number] for number in kept}
            outcome = await apply(pool, album.draw())
        await pool.expire_connections()
        assert outcome == Applied(VERSIONS + 1), "rows that outlived their version are no obstacle"
        assert set((await keys(pool)).values()) == {False}, "they are not checked"
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await pool.execute(
                "INSERT INTO cluster_heroes SELECT $1, image_id, pet_id, cluster_number, 99, score, 1, 2, selected_at"
                " FROM cluster_heroes LIMIT 1",
                version_key("101", 1),
            )

        upgrade(database_url)
        await pool.expire_connections()
        assert await apply(pool, album.draw()) == Applied(VERSIONS + 2)
        await Retention(pool=pool, days=90, pause_s=0).trim()
        assert await versions_of(pool, "101") == list(range(START, VERSIONS + 3)), "the pins went with their table"


async def test_the_upgrade_waits_for_a_writer_and_the_writer_for_nobody(database_url: str) -> None:
    upgrade(database_url, BEFORE)
    async with create_pool(database_url, size=2, statement_timeout_ms=20_000, ssl_mode="disable") as pool:
        album = Album("101", seed=2)
        async with of_today(pool):
            await apply(pool, album.draw())
        async with connected(database_url) as other:
            async with pool.acquire() as writer, writer.transaction():
                await writer.execute(
                    "INSERT INTO pet_clusters SELECT gen_random_uuid(), '102', 1, 0, 0, 0, '{}', '', '',"
                    " '', 24, 0, 0, now()"
                )
                migrating = asyncio.create_task(asyncio.to_thread(upgrade, database_url))
                await until_waiting(other, "LOCK TABLE pet_clusters%")
                await writer.execute("SET LOCAL lock_timeout = '1ms'")
                await writer.execute("UPDATE cluster_members SET until_version = 2 WHERE image_id = 'img-0001'")
            await migrating
        assert await keys(pool) == {}
