"""A shadow made of rows has the live tables' indexes and keys, and differs from them only where it should."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from projections.answers import read_at
from projections.bulk_rows import COLUMNS, all_rows
from projections.postgres import apply_version
from projections.queries import load
from projections.shadow import schema
from projections.shadow.compare import compare
from projections.shadow.history import Start, leave_out, parse_start
from schemas.errors import InvalidInput
from tests.integration.projections.samples import Album

SHADOW = "media_shadow_7"
VERSIONS = 30
PETS = ("101", "102", "103")
TRIMMED, PINNED = 12, 4


@pytest.fixture
async def both(pool: Any) -> Any:
    """A connection to a database whose live tables and shadow have the same histories."""
    albums = [Album(pet_id, seed=number) for number, pet_id in enumerate(PETS)]
    versions = [album.draw() for _ in range(VERSIONS) for album in albums]
    async with pool.acquire() as connection:
        async with connection.transaction():
            for each in versions:
                await apply_version(connection, each)
        await schema.create(connection, SHADOW)
        for table, columns in COLUMNS.items():
            await connection.copy_records_to_table(
                table, schema_name=SHADOW, records=all_rows(versions)[table], columns=columns
            )
        await schema.index(connection, SHADOW)
        yield connection


async def definitions(connection: Any, name: str) -> dict[str, list[str]]:
    found = {}
    for table in schema.TABLES:
        rows = [
            *await connection.fetch(load("list_indexes"), f"{name}.{table}"),
            *await connection.fetch(load("list_constraints"), f"{name}.{table}", [b"p", b"u", b"c", b"f"]),
        ]
        found[table] = sorted(row["definition"].replace(f"{name}.", "") for row in rows)
    return found


async def test_a_shadow_has_the_live_indexes_and_keys_and_a_repeat_changes_nothing(both: Any) -> None:
    live = await definitions(both, schema.LIVE)
    assert sum(map(len, live.values())) > 10
    assert await definitions(both, SHADOW) == live
    await schema.create(both, SHADOW)
    await schema.index(both, SHADOW)
    assert await definitions(both, SHADOW) == live


async def test_equal_histories_do_not_differ_whoever_is_ahead(both: Any) -> None:
    assert (await compare(both, SHADOW)).differing == 0
    await both.execute(f"DELETE FROM {SHADOW}.pet_clusters WHERE pet_id = '101' AND version = $1", VERSIONS)
    found = await compare(both, SHADOW)
    assert (found.pets, found.differing) == (len(PETS), 0), "the live rows have the version already: not a difference"


async def test_what_retention_removed_and_what_is_pinned_is_no_difference(both: Any) -> None:
    await both.execute("DELETE FROM pet_clusters WHERE version <= $1 AND version <> $2", TRIMMED, PINNED)
    for pet_id in PETS:
        await both.execute(load("insert_pin"), pet_id, PINNED, "an auditor", "a complaint")
    for table in ("cluster_members", "cluster_heroes", "cluster_summaries"):
        await both.execute(
            f"DELETE FROM {table} WHERE until_version <= $1 AND NOT (since_version <= $2 AND until_version > $2)",
            TRIMMED + 1,
            PINNED,
        )
    assert (await compare(both, SHADOW)).differing == 0
    await both.execute("UPDATE cluster_members SET score = 0.5 WHERE pet_id = '102' AND since_version = 20")
    (found,) = (await compare(both, SHADOW)).differences
    assert (found.pet_id, found.parts, found.first_version) == ("102", ("members",), 20)


@pytest.mark.parametrize("by_time", [False, True])
async def test_history_begins_where_it_is_said_and_what_stays_answers_the_same(both: Any, by_time: bool) -> None:
    first = 20
    moment = await both.fetchval("SELECT updated_at FROM pet_clusters WHERE pet_id = '101' AND version = $1", first)
    start = Start(moment=moment) if by_time else Start(version=first)
    before = {(pet, n): await read_at(both, pet, n) for pet in PETS for n in (PINNED, first, VERSIONS)}
    await both.execute(load("insert_pin"), "102", PINNED, "an auditor", "a complaint")
    begins = dict(
        await both.fetch(
            "SELECT pet_id, max(version) FROM pet_clusters WHERE updated_at <= $1 GROUP BY pet_id"
            if by_time
            else "SELECT pet_id, $1::bigint FROM pet_clusters GROUP BY pet_id",
            moment if by_time else first,
        )
    )
    assert await leave_out(both, SHADOW, start) == sum(begins.values()) - len(PETS) - 1
    assert await leave_out(both, SHADOW, start) == 0
    for pet in PETS:
        rows = await both.fetch(f"SELECT version FROM {SHADOW}.pet_clusters WHERE pet_id = $1 ORDER BY 1", pet)
        pinned = [PINNED] if pet == "102" else []
        assert [row["version"] for row in rows] == [*pinned, *range(begins[pet], VERSIONS + 1)]
    async with both.transaction():
        await both.execute(f"SET LOCAL search_path TO {SHADOW}, public")
        for (pet, number), answer in before.items():
            stays = number >= begins[pet] or (pet, number) == ("102", PINNED)
            assert await read_at(both, pet, number) == (answer if stays else None), (pet, number)
    assert (await compare(both, SHADOW)).differing == 0, "what was left out is no difference"
    assert await leave_out(both, SHADOW, Start(version=VERSIONS + 5)) > 0
    assert await both.fetchval(f"SELECT count(*) FROM {SHADOW}.pet_clusters") == len(PETS) + 1, "the last version stays"


@pytest.mark.parametrize("text", ["", "0", "-1", "x", "2026-08-01", "2026-08-01T00:00:00", "1.5", "9" * 30])
def test_a_beginning_is_a_version_or_a_time_with_a_zone(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^--from: "):
        parse_start(text)
    assert parse_start("12") == Start(version=12)
    assert parse_start("2026-08-01T00:00:00Z").moment is not None


async def test_a_live_version_that_was_lost_is_a_difference(both: Any) -> None:
    await both.execute("DELETE FROM pet_clusters WHERE pet_id = '103' AND version = $1", TRIMMED)
    (found,) = (await compare(both, SHADOW)).differences
    assert (found.pet_id, found.parts, found.first_version) == ("103", ("versions",), TRIMMED)


async def test_a_pet_that_one_side_lacks_differs(both: Any) -> None:
    for table in ("cluster_members", "cluster_heroes", "cluster_summaries", "pet_clusters"):
        await both.execute(f"DELETE FROM {table} WHERE pet_id = '102'")
        await both.execute(f"DELETE FROM {SHADOW}.{table} WHERE pet_id = '103'")
    found = await compare(both, SHADOW)
    assert [(each.pet_id, each.first_version) for each in found.differences] == [("102", 0), ("103", 0)]


async def test_tables_move_with_their_indexes_and_back(both: Any) -> None:
    live = await definitions(both, schema.LIVE)
    await both.execute("CREATE SCHEMA media_before_7")
    async with both.transaction():
        await schema.move(both, schema.LIVE, "media_before_7")
        await schema.move(both, SHADOW, schema.LIVE)
    assert await definitions(both, schema.LIVE) == live
    with pytest.raises(asyncpg.UniqueViolationError):
        await both.execute("INSERT INTO pet_clusters SELECT * FROM pet_clusters LIMIT 1")
    await schema.drop(both, "media_before_7")
    assert await both.fetchval("SELECT count(*) FROM pet_clusters") == VERSIONS * len(PETS)
