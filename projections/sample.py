"""Pets at random, for checks that cannot ask about all of them. Called by `python -m app compare`."""

from __future__ import annotations

import random
from typing import Any, Final
from uuid import UUID

from projections.queries import load

_ROUNDS: Final = 100
_BATCH: Final = 1000


async def sample_pets(pool: Any, number: int, draw: random.Random) -> list[str]:
    """`number` different pets that have a version, in random order; all, where there are no more.

    A pet with more versions is more likely, and one whose row's id has a wide gap before it, which is chance. Raises
    asyncpg's and OSError's errors while Postgres is away.
    """
    first = [row["pet_id"] for row in await pool.fetch(load("list_pets"), "", number + 1)]
    if len(first) <= number:
        draw.shuffle(first)
        return first
    found: dict[str, None] = {}
    for _ in range(_ROUNDS + number // _BATCH):
        starts = [UUID(int=draw.getrandbits(128)) for _ in range(min(_BATCH, 2 * (number - len(found)) + 10))]
        drawn = [row["pet_id"] for row in await pool.fetch(load("sample_pets"), starts)]
        draw.shuffle(drawn)
        found.update(dict.fromkeys(drawn))
        if len(found) >= number:
            return list(found)[:number]
    # One pet may have nearly all versions: the rest is as good as any.
    found.update(dict.fromkeys(first))
    return list(found)[:number]
