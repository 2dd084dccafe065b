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
    Of equally similar pairs the one with the lowest row is merged first. O(k²·d) for the dots, about O(k²) else.
    """
    size = len(totals)
    groups = [[row] for row in range(size)]
    if size < 2:
        return groups
    dots, counts = totals @ totals.T, weights.astype(np.float64) * SCALE
    barred = np.eye(size, dtype=bool) if apart is None else apart | np.eye(size, dtype=bool)
    similar = np.where(barred, -np.inf, dots / np.outer(counts, counts))
    nearest = similar.argmax(axis=1)
    best = similar[np.arange(size), nearest]
    while True:
        first = int(best.argmax())
        if best[first] < threshold:
            break
        kept, gone = sorted((first, int(nearest[first])))
        groups[kept] += groups[gone]
        groups[gone] = []
        dots[kept] += dots[gone]
        dots[:, kept] += dots[:, gone]
        counts[kept] += counts[gone]
        barred[kept] |= barred[gone]
        barred[:, kept] |= barred[:, gone]
        barred[gone], barred[:, gone] = True, True
        similar[gone], similar[:, gone] = -np.inf, -np.inf
        similar[kept] = np.where(barred[kept], -np.inf, dots[kept] / (counts[kept] * counts))
        similar[:, kept] = similar[kept]
        stale = np.flatnonzero((nearest == kept) | (nearest == gone))
        stale = np.union1d(stale, [kept, gone])
        nearest[stale] = similar[stale].argmax(axis=1)
        best[stale] = similar[stale, nearest[stale]]
        closer = (similar[kept] > best) | ((similar[kept] == best) & (kept < nearest))
        nearest[closer], best[closer] = kept, similar[kept][closer]
    return [sorted(group) for group in groups if group]
