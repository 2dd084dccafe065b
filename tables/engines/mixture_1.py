"""The two-level mixture, version 1. Frozen: see tables.engines.

Photos gather in tight components, and components in clusters:

1. A vector joins the component with the best cosine when that is at least `policy.join` (ties: the lowest id), else it
   opens one. A component's vectors are so close to each other that they need not be told apart again.
2. Behind each event, the clusters near to what it touched are taken apart into their components, and those are linked
   anew while their affinity is at least `policy.merge` (tables.engines.linkage_1). So
   clusters merge and split by the same criterion, and what comes out hardly depends on the order in which photos came.
3. With `policy.max_components` open, a vector joins the nearest component that it would be linked with; else the oldest
   one that is in no cluster makes room.

Step 1 looks at `CANDIDATES` components that sketches choose, step 2 at no more than `REGION` units.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from schemas.facts import Policy
from schemas.ids import UNCLUSTERED
from tables.clusters import Clusters, sum_of
from tables.engines import LOOSE, Placement
from tables.engines.linkage_1 import link
from tables.mixture import Mixture
from tables.vectors import Floats

CANDIDATES: Final = 8
REGION: Final = 48
NEAR: Final = 0.05
"""How far below `policy.merge` the mean cosine of a vector and a component may lie for the two to be looked at."""


def place(
    mixture: Mixture,
    clusters: Clusters,
    vector: Floats,
    next_component: int,
    policy: Policy,
    likely: Sequence[int] | None = None,
) -> Placement:
    """Place `vector`; see `tables.engines.Place`."""
    ids = mixture.ids if likely is None else likely
    cosines = mixture.cosines(vector) if likely is None else mixture.some_cosines(ids, vector)
    ranks = np.argsort(-cosines, kind="stable")[:CANDIDATES]
    best = [(ids[rank], float(cosines[rank])) for rank in ranks]
    least = policy.merge - NEAR
    near = tuple(c for c, cosine in best if cosine >= least and cosine * mixture.tightness(c) >= least)
    seen = tuple(component for component, _ in best)
    first, first_score = best[0] if best else (None, 0.0)
    full = len(mixture) >= policy.max_components
    if first is not None and (first_score >= policy.join or (full and first_score >= policy.merge)):
        mixture.grow(first, vector)
        second, second_score = best[1] if len(best) > 1 else (None, 0.0)
        return Placement(first, first, False, first_score, None, second, second_score, near=near, seen=seen)
    evicted = _evict(mixture, clusters) if full else None
    if full and evicted is None:
        return Placement(LOOSE, LOOSE, False, 0.0, None, first, first_score)
    mixture.open(next_component, vector)
    near = tuple(component for component in near if component != evicted)
    placement = Placement(next_component, next_component, True, 1.0, None, first, first_score)
    return replace(placement, evicted=evicted, near=near, seen=seen)


def _evict(mixture: Mixture, clusters: Clusters) -> int | None:
    """Drop the oldest component that is in no cluster, to make room. None when every one is in one."""
    for component in mixture.ids:
        if clusters.number(component) == UNCLUSTERED:
            mixture.remove(component)
            return component
    return None


def regroup(
    mixture: Mixture, clusters: Clusters, touched: Iterable[int], near: Iterable[int], policy: Policy
) -> list[list[int]]:
    """See `tables.engines.Regroup`."""
    units = _units(clusters, sorted(touched), sorted(near))
    sums = [sum_of(mixture, unit) for unit in units]
    groups = link(np.stack([s.total for s in sums]), np.array([s.weight for s in sums]), policy.merge)
    return [sorted(component for row in group for component in units[row]) for group in groups]


def regroup_all(mixture: Mixture, policy: Policy) -> list[list[int]]:
    """The groups that all components make up."""
    totals = mixture.totals(mixture.ids)
    groups = link(totals, np.array(mixture.weights), policy.merge)
    return [[mixture.ids[row] for row in group] for group in groups]


def _units(clusters: Clusters, touched: Sequence[int], near: Sequence[int]) -> list[list[int]]:
    """What is linked: components, and where they would be too many, the rest of a cluster as one."""
    looked_at = list(dict.fromkeys([*touched, *near]))
    numbers = list(dict.fromkeys(clusters.number(component) for component in looked_at))
    units = [[component] for component in looked_at if clusters.number(component) == UNCLUSTERED]
    room = REGION - len(units)
    for number in numbers:
        if number == UNCLUSTERED:
            continue
        components = clusters.components(number)
        if len(components) <= room:
            units += [[component] for component in components]
            room -= len(components)
            continue
        alone = [component for component in components if component in touched][: max(room - 1, 0)]
        units += [[component] for component in alone]
        rest = [component for component in components if component not in alone]
        units += [rest] if rest else []
        room -= len(alone) + 1
    return units
