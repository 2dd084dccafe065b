"""Pets at random: as many as asked for, each once, others at the next draw; all, where there are no more."""

from __future__ import annotations

import random
from typing import Any

import pytest

from projections.postgres import Applied, apply_version
from projections.sample import sample_pets
from tests.integration.projections.samples import version

PETS = tuple(f"pet-{number:03}" for number in range(120))


async def write(pool: Any, versions: dict[str, int]) -> None:
    async with pool.acquire() as connection, connection.transaction():
        for pet, last in versions.items():
            for number in range(1, last + 1):
                assert isinstance(await apply_version(connection, version(pet, number)), Applied)


async def test_draws_differ_and_no_pet_comes_twice(pool: Any) -> None:
    await write(pool, dict.fromkeys(PETS, 1))
    drawn = [await sample_pets(pool, 40, random.Random(seed)) for seed in range(12)]
    assert all(len(pets) == len(set(pets)) == 40 for pets in drawn)
    assert drawn[0] != drawn[1]
    assert len({pet for pets in drawn for pet in pets}) > 90, "ids and seeds are fixed, so this is no matter of luck"
    assert await sample_pets(pool, 40, random.Random(0)) == drawn[0]


@pytest.mark.parametrize("number", [len(PETS), 10 * len(PETS)])
async def test_all_where_there_are_no_more(pool: Any, number: int) -> None:
    await write(pool, dict.fromkeys(PETS, 1))
    assert sorted(await sample_pets(pool, number, random.Random(1))) == list(PETS)
    await pool.execute("TRUNCATE pet_clusters CASCADE")
    assert await sample_pets(pool, number, random.Random(1)) == []


async def test_a_pet_with_most_of_the_versions_leaves_room_for_others(pool: Any) -> None:
    await write(pool, {"busy": 600, **dict.fromkeys(PETS[:5], 1)})
    pets = await sample_pets(pool, 5, random.Random(2))
    assert len(set(pets)) == len(pets) == 5
