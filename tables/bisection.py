"""Splits images in two by likeness: spherical 2-means (Dhillon and Modha, "Concept decompositions for large sparse text
data using clustering", 2001), from the two that lie furthest out. Pure and exact; used when a user splits a cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from tables.vectors import MAX_WEIGHT, Floats, dequantize

ROUNDS: Final = 8


def smaller_half(vectors: Sequence[bytes]) -> list[int]:
    """The rows of the smaller side, of equal ones that without row 0; empty where the images do not differ.

    `vectors`: as `tables.vectors.quantize` makes them, of one dimension.
    """
    if len(vectors) < 2:
        return []
    rows = np.stack([dequantize(vector) for vector in vectors])
    lengths = np.sqrt((rows * rows).sum(axis=1))
    one = int((_cosines(rows, lengths, rows[:MAX_WEIGHT].sum(axis=0))).argmin())
    other = int((_cosines(rows, lengths, rows[one])).argmin())
    centres = rows[one], rows[other]
    side = np.zeros(len(rows), dtype=bool)
    for _ in range(ROUNDS):
        before = side
        side = _cosines(rows, lengths, centres[1]) > _cosines(rows, lengths, centres[0])
        if side.all() or not side.any():
            return []
        if (side == before).all():
            break
        centres = rows[~side][:MAX_WEIGHT].sum(axis=0), rows[side][:MAX_WEIGHT].sum(axis=0)
    more = int(side.sum())
    smaller = side if 2 * more < len(rows) or (2 * more == len(rows) and not side[0]) else ~side
    return [int(row) for row in np.flatnonzero(smaller)]


def _cosines(rows: Floats, lengths: Floats, centre: Floats) -> Floats:
    length = np.sqrt(float(centre @ centre))
    cosines: Floats = rows @ centre / (lengths * (length if length else 1.0))
    return cosines
