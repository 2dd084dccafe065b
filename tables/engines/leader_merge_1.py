"""Leader + merge, version 1: one pass, O(k·d) per vector. Frozen: see tables.engines.

1. The vector joins the component with the best cosine when that is at least `policy.join` (ties: the lowest id), else
   it opens a component.
2. While the touched component and its most similar other have a cosine of at least `policy.merge`, the higher id merges
   into the lower one.
3. With `policy.max_components` open, the oldest that is no cluster makes room; when all are clusters the vector stays
   loose.

A leader algorithm (Hartigan, Clustering Algorithms, 1975, ch. 3) on directions, with the merging that makes it
less dependent on the order of arrival.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from schemas.facts import Policy
from tables.clusters import Clusters
from tables.engines import LOOSE, Merge, Placement
from tables.mixture import Mixture
from tables.vectors import Floats


def place(
    mixture: Mixture,
    clusters: Clusters,
    vector: Floats,
    next_component: int,
    policy: Policy,
    likely: Sequence[int] | None = None,
) -> Placement:
    """Place `vector`; see `tables.engines.Place`. It looks at all components."""
    cosines = mixture.cosines(vector)
    best = int(np.argmax(cosines)) if len(mixture) else -1
    if best < 0 or cosines[best] < policy.join:
        runner_up, runner_up_score = _best_other(mixture, cosines, None)
        full = len(mixture) >= policy.max_components
        evicted = _evict(mixture, policy) if full else None
        if full and evicted is None:
            return Placement(LOOSE, LOOSE, False, 0.0, None, runner_up, runner_up_score)
        mixture.open(next_component, vector)
        return Placement(next_component, next_component, True, 1.0, None, runner_up, runner_up_score, (), evicted)
    runner_up, runner_up_score = _best_other(mixture, cosines, best)
    joined = mixture.ids[best]
    founder = mixture.total(joined) if mixture.counts[best] == 1 else None
    mixture.grow(joined, vector)
    founder_score = None if founder is None else mixture.cosine(joined, founder)
    component, merges = _merge_similar(mixture, joined, policy.merge)
    score = mixture.cosine(component, vector)
    return Placement(joined, component, False, score, founder_score, runner_up, runner_up_score, merges)


def _best_other(mixture: Mixture, cosines: Floats, chosen: int | None) -> tuple[int | None, float]:
    """The best component besides row `chosen`, and its cosine."""
    others = cosines.copy()
    if chosen is not None:
        others[chosen] = -np.inf
    if len(others) == 0 or (len(others) == 1 and chosen is not None):
        return None, 0.0
    row = int(np.argmax(others))
    return mixture.ids[row], float(others[row])


def _merge_similar(mixture: Mixture, component: int, threshold: float) -> tuple[int, tuple[Merge, ...]]:
    """Merge while the most similar other component reaches `threshold`. Returns where it ends and what happened."""
    merges: list[Merge] = []
    while len(mixture) > 1:
        cosines = mixture.cosines(mixture.total(component))
        cosines[mixture.ids.index(component)] = -np.inf
        row = int(np.argmax(cosines))
        if cosines[row] < threshold:
            break
        other = mixture.ids[row]
        source, target = max(component, other), min(component, other)
        before = mixture.total(source)
        target_before = mixture.total(target) if mixture.count(target) == 1 else None
        mixture.merge(source, target)
        target_score = None if target_before is None else mixture.cosine(target, target_before)
        merges.append(Merge(source, target, mixture.cosine(target, before), target_score))
        component = target
    return component, tuple(merges)


def _evict(mixture: Mixture, policy: Policy) -> int | None:
    """Drop the oldest component that is too small to be a cluster, to make room. None when every one is a cluster."""
    for component, count in zip(mixture.ids, mixture.counts, strict=True):
        if count < policy.min_cluster_size:
            mixture.remove(component)
            return component
    return None
