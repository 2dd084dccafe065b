"""The schema goes up, down and up again, on data, and by several processes at once."""

from __future__ import annotations

import multiprocessing
from typing import Any

import asyncpg
import pytest

from projections.migrate import current, downgrade, head, upgrade
from projections.pool import create_pool
from projections.postgres import Applied, apply_version
from projections.urls import driver_url
from schemas.errors import InvalidInput
from tests.integration.projections.samples import Album

TABLES = {
    "cluster_heroes",
    "cluster_job_commands",
    "cluster_jobs",
    "cluster_members",
    "cluster_snapshots",
    "cluster_summaries",
    "dead_letter_actions",
    "dead_letters",
    "pet_clusters",
    "pet_decisions",
    "pet_purges",
    "pinned_versions",
    "projection_generations",
    "projection_positions",
    "purged_versions",
    "rebuild_partitions",
    "rebuild_runs",
    "similar_models",
    "similar_pets",
}


async def tables(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {row["tablename"] for row in rows} - {"alembic_version"}
    finally:
        await connection.close()


async def write(url: str, album: Album) -> list[Any]:
    async with create_pool(url, size=1, statement_timeout_ms=5000, ssl_mode="disable") as pool:
        outcomes = []
        for _ in range(5):
            async with pool.acquire() as connection, connection.transaction():
                outcomes.append(await apply_version(connection, album.draw()))
        return outcomes


async def test_up_down_and_up_again_on_data(database_url: str) -> None:
    assert current(database_url) is None

    upgrade(database_url)
    assert (current(database_url), await tables(database_url)) == (head(), TABLES)
    assert await write(database_url, Album("101", seed=1)) == [Applied(number) for number in range(1, 6)]

    upgrade(database_url)
    assert await write(database_url, Album("102", seed=1)) == [Applied(number) for number in range(1, 6)]

    downgrade(database_url, "base")
    assert (current(database_url), await tables(database_url)) == (None, set())

    upgrade(database_url)
    assert await write(database_url, Album("101", seed=1)) == [Applied(number) for number in range(1, 6)]


OLD_HERO = """
    INSERT INTO cluster_heroes (cluster_id, image_id, pet_id, cluster_number, rank, score, since_version, selected_at)
    SELECT cluster_id, $1, pet_id, cluster_number, 99, score, since_version, selected_at FROM cluster_heroes LIMIT 1
"""


async def test_heroes_of_the_release_before_have_no_parts(database_url: str) -> None:
    upgrade(database_url)
    album = Album("101", seed=1)
    await write(database_url, album)
    downgrade(database_url, "0008")
    upgrade(database_url)
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.execute(OLD_HERO, "old") == "INSERT 0 1", "it goes on after the upgrade"
        assert await connection.fetchval("SELECT count(*) FROM cluster_heroes WHERE parts IS NOT NULL") == 0
    finally:
        await connection.close()
    assert await write(database_url, album) == [Applied(number) for number in range(6, 11)]


def test_processes_that_migrate_at_once_take_turns(database_url: str) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as processes:
        processes.map(upgrade, [database_url] * 3)
    assert current(database_url) == head()


async def test_the_documents_columns_indexes_and_enum_are_there(pool: Any) -> None:
    enum = await pool.fetchval("SELECT array_agg(v::text) FROM unnest(enum_range(NULL::cluster_job_status)) AS v")
    assert enum == ["queued", "processing", "succeeded", "failed"]
    indexes = " ".join(await pool.fetchval("SELECT array_agg(indexdef) FROM pg_indexes WHERE schemaname = 'public'"))
    assert "ON public.pet_clusters USING btree (pet_id, created_at DESC)" in indexes
    assert "ON public.cluster_members USING btree (image_id, pet_id, since_version DESC)" in indexes
    assert "ON public.cluster_jobs USING btree (pet_id) WHERE (status <> 'succeeded'::cluster_job_status)" in indexes
    assert "UNIQUE INDEX pet_clusters_pet_version ON public.pet_clusters USING btree (pet_id, version)" in indexes
    assert "UNIQUE INDEX cluster_members_pkey ON public.cluster_members USING btree (cluster_id, image_id)" in indexes
    assert "UNIQUE INDEX cluster_heroes_pkey ON public.cluster_heroes USING btree (cluster_id, image_id)" in indexes


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("postgresql://u:p@h:5433/db", "postgresql://u:p@h:5433/db"),
        ("postgres://h/db", "postgresql://h/db"),
        ("postgresql+asyncpg://h/db?sslmode=require", "postgresql://h/db?sslmode=require"),
    ],
)
def test_every_spelling_of_a_postgres_url_is_taken(given: str, driver: str) -> None:
    assert driver_url(given) == driver


def test_another_databases_url_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="DATABASE_URL"):
        driver_url("mysql://h/db")


@pytest.mark.parametrize(("argument", "value"), [("size", 0), ("statement_timeout_ms", 0), ("ssl_mode", "sometimes")])
def test_a_wrong_pool_argument_is_refused_by_name(argument: str, value: Any) -> None:
    arguments: dict[str, Any] = {"size": 1, "statement_timeout_ms": 1000, "ssl_mode": "disable", argument: value}
    with pytest.raises(InvalidInput, match=argument):
        create_pool("postgresql://127.0.0.1/none", **arguments)
