"""Average linkage, version 1: groups units by their mean pairwise cosine. Frozen with the engines that use it.

Sokal and Michener, "A statistical method for evaluating systematic relationships" (1958), on directions: for units with
sums S and weights n the mean cosine over all pairs of vectors is S_a·S_b / (n_a n_b), so that vectors need not be kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tables.vectors import SCALE, Floats


def link(
    totals: Floats, weights: npt.NDArray[Any], threshold: float, apart: npt.NDArray[np.bool_] | None = None
) -> list[list[int]]:
    """Merge the two most similar groups while their mean pairwise cosine is at least `threshold`.

    `totals`: sums of the units, shape (k, d), integer-valued; `weights`: vectors in each, shape (k,). `apart`: which
    units must not come together, shape (k, k), symmetric. Returns the groups, as rising rows, the group of row 0 first.

    All pairs that are each other's nearest merge at once, which for this linkage gives the same groups as one pair at a
    time (Bruynooghe, "Classification ascendante hiérarchique des grands ensembles de données", 1978); of equally near
    ones the lowest row counts as the nearest. O(k²·d) for the dots, about O(k² log k) for the rest.
    """
    groups = [[row] for row in range(len(totals))]
    dots, counts = totals @ totals.T, weights.astype(np.float64) * SCALE
    barred = apart
    while len(groups) > 1:
        similar = dots / np.outer(counts, counts)
        if barred is not None:
            similar[barred] = -np.inf
        np.fill_diagonal(similar, -np.inf)
        nearest = similar.argmax(axis=1)
        rows = np.arange(len(groups))
        mutual = (nearest[nearest] == rows) & (similar[rows, nearest] >= threshold)
        if not mutual.any():
            break
        heads = np.flatnonzero(~mutual | (rows < nearest))
        # The order in which each kept row is followed by the row that it takes, if any, and where each such run begins.
        order = np.concatenate([[row, nearest[row]] if mutual[row] else [row] for row in heads])
        starts = np.concatenate([[0], np.cumsum(np.where(mutual[heads], 2, 1))[:-1]])
        dots = np.add.reduceat(np.add.reduceat(dots[np.ix_(order, order)], starts, axis=0), starts, axis=1)
        counts = np.add.reduceat(counts[order], starts)
        if barred is not None:
            barred = np.logical_or.reduceat(barred[np.ix_(order, order)], starts, axis=0)
            barred = np.logical_or.reduceat(barred, starts, axis=1)
        groups = [groups[row] + (groups[nearest[row]] if mutual[row] else []) for row in heads]
    return [sorted(group) for group in groups]
