"""Rows made in memory are the rows that the projector comes to, whatever the history."""

from __future__ import annotations

from typing import Any

import pytest

from projections.answers import read_at
from projections.bulk_rows import COLUMNS, BulkRows, VersionGap, all_rows
from projections.postgres import apply_version
from projections.verify.answers import answer_at
from schemas.errors import InvalidInput
from schemas.versions import PetVersion
from tests.integration.projections.samples import Album, cluster, member, version
from tests.unit.test_grouped_fold import folded, restless_log

VERSIONS = 60
PETS = ("101", "102", "103")


def histories(seed: int) -> list[PetVersion]:
    """Histories of some pets, interleaved."""
    albums = [Album(pet_id, seed=seed * 10 + number) for number, pet_id in enumerate(PETS)]
    return [album.draw() for _ in range(VERSIONS) for album in albums]


async def rows_of(pool: Any) -> dict[str, list[Any]]:
    """Every table's rows, sorted."""
    return {
        table: sorted(map(str, await pool.fetch(f"SELECT {', '.join(columns)} FROM {table}")))
        for table, columns in COLUMNS.items()
    }


async def copy(pool: Any, rows: dict[str, list[Any]]) -> None:
    async with pool.acquire() as connection, connection.transaction():
        for table, columns in COLUMNS.items():
            await connection.copy_records_to_table(table, records=rows[table], columns=columns)


async def emptied(pool: Any) -> None:
    await pool.execute(f"TRUNCATE {', '.join(COLUMNS)} CASCADE")


@pytest.mark.parametrize("seed", range(6))
async def test_they_are_the_rows_that_version_by_version_comes_to(pool: Any, seed: int) -> None:
    versions = histories(seed)
    async with pool.acquire() as connection, connection.transaction():
        for each in versions:
            await apply_version(connection, each)
    live = await rows_of(pool)
    assert any("merged" in row for row in live["cluster_members"]), "the history has merges"
    await emptied(pool)
    await copy(pool, all_rows(versions))
    assert await rows_of(pool) == live


@pytest.mark.parametrize("seed", range(3))
async def test_they_are_the_same_of_an_engine_that_groups_components(pool: Any, seed: int) -> None:
    """Their members know their components, and heroes have parts."""
    versions = folded(restless_log(seed))[1]
    async with pool.acquire() as connection, connection.transaction():
        for each in versions:
            await apply_version(connection, each)
    live = await rows_of(pool)
    assert any("closeness" in row for row in live["cluster_heroes"])
    await emptied(pool)
    rows = all_rows(versions)
    await copy(pool, rows)
    assert await rows_of(pool) == live
    for number in (1, 20, len(versions)):
        read = await read_at(pool, versions[0].pet_id, number)
        assert read is not None
        assert answer_at(rows, number, read.generation) == read, "what verify makes of the same rows"


@pytest.mark.parametrize("seed", [1, 4])
async def test_they_are_the_rows_of_an_engine_that_groups_components(pool: Any, seed: int) -> None:
    _, versions = folded(restless_log(seed))
    async with pool.acquire() as connection, connection.transaction():
        for each in versions:
            await apply_version(connection, each)
    live = await rows_of(pool)
    assert any("regrouped" in row for row in live["cluster_members"]), "the history has moves"
    await emptied(pool)
    await copy(pool, all_rows(versions))
    assert await rows_of(pool) == live


async def test_the_projector_goes_on_behind_copied_rows(pool: Any) -> None:
    versions = histories(9)
    half = len(versions) // 2
    async with pool.acquire() as connection, connection.transaction():
        for each in versions:
            await apply_version(connection, each)
    live = await rows_of(pool)
    await emptied(pool)
    await copy(pool, all_rows(versions[:half]))
    async with pool.acquire() as connection, connection.transaction():
        for each in versions[half:]:
            await apply_version(connection, each)
    assert await rows_of(pool) == live


async def test_finished_rows_are_given_once_and_the_rest_at_last(pool: Any) -> None:
    versions = histories(2)
    bulk, rows = BulkRows(), {table: list[Any]() for table in COLUMNS}
    for number, each in enumerate(versions):
        bulk.apply(each)
        if number % 7 == 0:
            for table, finished in bulk.take().items():
                rows[table] += finished
    for table, finished in bulk.take().items():
        rows[table] += finished
    for table, row in bulk.holding():
        rows[table].append(row)
    whole = all_rows(versions)
    assert {table: sorted(map(str, each)) for table, each in rows.items()} == {
        table: sorted(map(str, each)) for table, each in whole.items()
    }
    assert bulk.versions() == dict.fromkeys(PETS, VERSIONS)


def test_a_version_that_does_not_follow_or_fit_changes_nothing() -> None:
    bulk = BulkRows()
    bulk.apply(version("101", 1, (member("a", 0),), (cluster(0, 1, "a"),)))
    with pytest.raises(VersionGap):
        bulk.apply(version("101", 3))
    with pytest.raises(InvalidInput):
        bulk.apply(version("a/b", 1))
    assert bulk.versions() == {"101": 1}
