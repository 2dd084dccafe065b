"""Pets that are alike, and what numpy says of how alike. Used by the tests of the similarity index."""

from __future__ import annotations

from typing import Any

import numpy as np

from projections.similar.search import Ask
from tables.vectors import dequantize
from tests.albums import Directions
from tests.integration.similar_world import SimilarWorld, burst

TEN = Ask(limit=10)


def cosine(a: Any, b: Any) -> float:
    """Of two vectors, of the log or as numbers, by numpy."""
    left, right = (dequantize(v) if isinstance(v, bytes) else np.asarray(v) for v in (a, b))
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))


async def several(world: SimilarWorld, pets: int = 6) -> dict[tuple[str, str], bytes]:
    """Pets with two bursts and a loose photo each; all their vectors."""
    directions, every = Directions(7), dict[tuple[str, str], bytes]()
    shared = directions.new()
    for number in range(pets):
        pet = f"pet-{number}"
        photos = {
            **burst(directions, shared, "s0", "s1", "s2", spread=0.4),
            **burst(directions, directions.new(), "o0", "o1"),
            "loose": directions.near(directions.new()),
        }
        every |= {(pet, name): vector for name, vector in photos.items()}
        await world.embed(pet, photos)
    await world.index()
    return every
