"""Postgres against the rows that a pet's versions come to, whatever its history and whatever retention has trimmed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import msgspec
import pytest

from projections.answers import read_at
from projections.bulk_rows import all_rows
from projections.postgres import SNAPSHOT_EVERY, apply_version
from projections.queries import load
from projections.retention import Retention
from projections.verify.answers import answer_at
from projections.verify.findings import Difference
from projections.verify.reading import read_pet
from projections.verify.rows import row_differences, rows_without_version
from schemas.answers import encode_answer
from schemas.versions import PetVersion
from tests.integration.projections.samples import Album

PET = "101"
VERSIONS = SNAPSHOT_EVERY + 8
TRIMMED, PINNED = 40, 4
COVERAGE = {"portrait": 1.0, "ä": 0.1, "face": 1e-7, "body": 1e22, "zz": 0.5, "a\x00": 0.25}
"""Keys and numbers that jsonb gives back in an order and a spelling of its own."""


class NothingSettled:
    """A frontier that asks nothing of Postgres."""

    async def projected(self, connection: Any) -> int:
        return 0


@pytest.fixture
def history() -> list[PetVersion]:
    album = Album(PET, seed=5)
    versions = [album.draw() for _ in range(VERSIONS)]
    versions[10] = msgspec.structs.replace(versions[10], coverage=COVERAGE)
    return versions


@pytest.fixture
async def filled(pool: Any, history: list[PetVersion]) -> AsyncIterator[Any]:
    async with pool.acquire() as connection:
        async with connection.transaction():
            for each in history:
                await apply_version(connection, each)
        yield connection


async def differences(connection: Any, history: list[PetVersion], common: int = VERSIONS) -> list[Difference]:
    rows = all_rows(history)
    live = await read_pet(connection, PET, NothingSettled())  # type: ignore[arg-type]
    return list(row_differences(rows, live, common, partial(answer_at, rows, generation=live.generation)))


async def test_the_answer_made_in_memory_is_the_one_of_the_tables_byte_for_byte(
    filled: Any, history: list[PetVersion]
) -> None:
    rows = all_rows(history)
    for number in range(1, VERSIONS + 1):
        answer = await read_at(filled, PET, number)
        assert answer is not None
        assert encode_answer(answer_at(rows, number, answer.generation)) == encode_answer(answer)


async def test_equal_rows_do_not_differ_whoever_is_ahead(filled: Any, history: list[PetVersion]) -> None:
    assert await differences(filled, history) == []
    assert await differences(filled, history[:50], 50) == [], "Postgres is ahead"


async def test_rows_without_their_version_are_told(filled: Any, history: list[PetVersion]) -> None:
    live = await read_pet(filled, PET, NothingSettled())  # type: ignore[arg-type]
    assert list(rows_without_version(live)) == []
    await filled.execute("DELETE FROM pet_clusters WHERE version = $1", VERSIONS)
    assert await differences(filled, history, VERSIONS - 1) == []
    live = await read_pet(filled, PET, NothingSettled())  # type: ignore[arg-type]
    assert {each.version for each in rows_without_version(live)} == {VERSIONS}


async def test_a_trimmed_history_is_no_difference_and_what_is_left_is_compared(
    pool: Any, filled: Any, history: list[PetVersion]
) -> None:
    await filled.execute("UPDATE pet_clusters SET created_at = now() - interval '99 days' WHERE version <= $1", TRIMMED)
    await filled.execute(load("insert_pin"), PET, PINNED, "an auditor", "a complaint")
    await Retention(pool=pool, days=90, pause_s=0).trim()
    there = [row["version"] for row in await filled.fetch("SELECT version FROM pet_clusters ORDER BY version")]
    assert there == [PINNED, *range(TRIMMED, VERSIONS + 1)]
    assert await differences(filled, history) == []
    held = await filled.fetchval(
        "SELECT image_id FROM cluster_members WHERE since_version <= $1 AND until_version > $1 AND until_version < 40",
        PINNED,
    )
    await filled.execute("DELETE FROM cluster_members WHERE image_id = $1 AND since_version <= $2", held, PINNED)
    assert [each.field for each in await differences(filled, history)] == [f"cluster_members[{held}]"]


@pytest.mark.parametrize(
    ("damage", "field", "version"),
    [
        ("UPDATE cluster_members SET score = 0.123 WHERE since_version = 30", "cluster_members[", 30),
        ("UPDATE cluster_members SET metadata = '{}' WHERE since_version = 31", "cluster_members[", 31),
        ("UPDATE cluster_members SET until_version = 70 WHERE until_version = 65", "cluster_members[", 65),
        ("UPDATE cluster_heroes SET rank = 9 WHERE since_version = 29", "cluster_heroes[", 29),
        ("UPDATE cluster_summaries SET label = 'wrong' WHERE since_version = 28", "cluster_summaries[", 28),
        ("DELETE FROM pet_clusters WHERE version = 27", "pet_clusters[27]", 27),
        ("UPDATE pet_clusters SET metrics = metrics || '{\"quality_score\": 7}' WHERE version = 26", "pet_cl", 26),
        ("DELETE FROM cluster_snapshots", "cluster_snapshots[64]", 64),
        ("UPDATE cluster_snapshots SET payload = '\\x00'", "cluster_snapshots[64].payload", 64),
    ],
)
async def test_what_was_changed_is_named_with_its_version(
    filled: Any, history: list[PetVersion], damage: str, field: str, version: int
) -> None:
    assert await filled.execute(damage) not in ("UPDATE 0", "DELETE 0")
    found = await differences(filled, history)
    assert found
    assert {each.version for each in found} == {version}
    assert all(each.field.startswith(field) for each in found)
