"""Average linkage on directions that takes account of each group's spread, version 1. Frozen with its engines.

For groups with sums S and n vectors the mean cosine over all pairs of vectors is S_a·S_b / (n_a n_b), so that vectors
need not be kept (Sokal and Michener, "A statistical method for evaluating systematic relationships", 1958). A cosine
that is high between loose groups may be low between tight ones, so it is measured by what is usual inside of them:

    affinity(a, b) = S_a·S_b / (n_a n_b) · √(w₀ / √(w_a w_b)),    w = (κ w₀ + Σ inner cosines) / (κ + inner pairs)

w is the mean cosine inside a group, the posterior mean under a prior of κ pairs of cosine w₀; a group of one has the
prior's. `PRIOR_COSINE` and `PRIOR_PAIRS` were chosen on one part of the evaluation (docs/evaluation.md).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tables.vectors import SCALE, Floats

PRIOR_COSINE: Final = 0.7
PRIOR_PAIRS: Final = 4.0
LEAST_COSINE: Final = 0.01


def link(
    totals: Floats, weights: npt.NDArray[Any], threshold: float, apart: npt.NDArray[np.bool_] | None = None
) -> list[list[int]]:
    """Merge groups that are each other's nearest, while their affinity is at least `threshold`.

    `totals`: sums of the units, shape (k, d), integer-valued; `weights`: vectors in each, shape (k,). `apart`: which
    units must not come together, shape (k, k), symmetric. Returns the groups, as rising rows, the group of row 0 first.
    Of equally near ones the lowest row counts as the nearest. O(k²·d) for the dots, about O(k² log k) for the rest.
    """
    groups = [[row] for row in range(len(totals))]
    dots, counts, barred = totals @ totals.T, weights.astype(np.float64), apart
    while len(groups) > 1:
        nearest, affinity = _nearest(dots, counts, barred)
        rows = np.arange(len(groups))
        mutual = (nearest[nearest] == rows) & (affinity >= threshold)
        mutual &= mutual[nearest]
        if not mutual.any():
            break
        heads = np.flatnonzero(~mutual | (rows < nearest))
        # Each group that stays, followed by the one that it takes; reduceat then adds up the runs.
        order = np.concatenate([[row, nearest[row]] if mutual[row] else [row] for row in heads])
        starts = np.concatenate([[0], np.cumsum(np.where(mutual[heads], 2, 1))[:-1]])
        dots = np.add.reduceat(np.add.reduceat(dots[np.ix_(order, order)], starts, axis=0), starts, axis=1)
        counts = np.add.reduceat(counts[order], starts)
        if barred is not None:
            barred = np.logical_or.reduceat(barred[np.ix_(order, order)], starts, axis=0)
            barred = np.logical_or.reduceat(barred, starts, axis=1)
        groups = [groups[row] + (groups[nearest[row]] if mutual[row] else []) for row in heads]
    return [sorted(group) for group in groups]


def _nearest(dots: Floats, counts: Floats, barred: npt.NDArray[np.bool_] | None) -> tuple[npt.NDArray[np.intp], Floats]:
    """Of each group the row of its nearest, and the affinity of the two; −∞ where there is none."""
    pairs = counts * (counts - 1) / 2
    inner = (dots.diagonal() / SCALE**2 - counts) / 2
    usual = (PRIOR_PAIRS * PRIOR_COSINE + inner) / (PRIOR_PAIRS + pairs)
    # Vectors that point away from each other have no usual cosine worth a root.
    scale = np.sqrt(np.sqrt(PRIOR_COSINE / np.maximum(usual, LEAST_COSINE))) / (counts * SCALE)
    affinity = dots * (scale[:, None] * scale[None, :])
    if barred is not None:
        affinity[barred] = -np.inf
    np.fill_diagonal(affinity, -np.inf)
    nearest = affinity.argmax(axis=1)
    return nearest, affinity[np.arange(len(dots)), nearest]
