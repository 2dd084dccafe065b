"""Which components make up each cluster of a mixture, and the cluster's own sum. Pure; derived from the components, so
it is not stored. Used by the fold, its engines and what the public sees.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from math import sqrt

from schemas.ids import UNCLUSTERED
from tables.mixture import Mixture
from tables.vectors import MAX_WEIGHT, SCALE, Floats


@dataclass
class ClusterSum:
    """Sum S of a cluster's components, shape (d,), how many vectors it holds, and S·S. `whole`: of all components."""

    weight: int
    total: Floats
    square: float
    whole: bool = True

    def cosine(self, vector: Floats) -> float:
        """Cosine of `vector`, shape (d,), to the sum's direction, at most 1; 0 where opposite vectors leave none."""
        if not self.square:
            return 0.0
        return min(1.0, float(self.total @ vector) / (sqrt(self.square) * sqrt(float(vector @ vector))))

    def tightness(self) -> float:
        """‖S‖/weight as a fraction of the unit length; 0 of no vector."""
        return min(1.0, sqrt(self.square) / (self.weight * SCALE)) if self.weight else 0.0


class Clusters:
    """Components by cluster number. A component without a number is in no cluster."""

    def __init__(self) -> None:
        self._components: dict[int, list[int]] = {}
        self._numbers: dict[int, int] = {}
        self._sums: dict[int, ClusterSum] = {}
        self._counts: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._components)

    def __contains__(self, number: int) -> bool:
        return number in self._components

    def memory(self) -> int:
        """Bytes of the sums that are known."""
        return sum(known.total.nbytes for known in self._sums.values())

    def numbers(self) -> Set[int]:
        """All cluster numbers."""
        return self._components.keys()

    def number(self, component: int) -> int:
        """The cluster of a component, or UNCLUSTERED."""
        return self._numbers.get(component, UNCLUSTERED)

    def components(self, number: int) -> Sequence[int]:
        """The components of a cluster, rising."""
        return self._components[number]

    def put(self, component: int, number: int) -> None:
        """From now on the component belongs to this cluster; UNCLUSTERED for none."""
        before = self._numbers.pop(component, UNCLUSTERED)
        if before != UNCLUSTERED:
            self._components[before].remove(component)
            self._forget(before)
            if not self._components[before]:
                del self._components[before]
        if number != UNCLUSTERED:
            self._numbers[component] = number
            bisect.insort(self._components.setdefault(number, []), component)
            self._forget(number)

    def grew(self, component: int, vector: Floats) -> None:
        """A component has taken a vector: its cluster's sum has, too, while that stays exact."""
        number = self.number(component)
        if number in self._counts:
            self._counts[number] += 1
        known = self._sums.get(number)
        if known is None:
            return
        if known.whole and known.weight < MAX_WEIGHT:
            self._sums[number] = _made(known.weight + 1, known.total + vector)
        else:
            del self._sums[number]

    def count(self, mixture: Mixture, number: int) -> int:
        """How many vectors the cluster's components took."""
        known = self._counts.get(number)
        if known is None:
            known = self._counts[number] = sum(map(mixture.count, self._components[number]))
        return known

    def counts(self, mixture: Mixture) -> Mapping[int, int]:
        """Cluster → how many vectors its components took."""
        for number in self._components.keys() - self._counts.keys():
            self.count(mixture, number)
        return self._counts

    def sum(self, mixture: Mixture, number: int) -> ClusterSum:
        """The cluster's sum: of the components by id, but for those that would make it inexact."""
        known = self._sums.get(number)
        if known is None:
            known = self._sums[number] = sum_of(mixture, self._components[number])
        return known

    def tightness(self, mixture: Mixture, number: int) -> float:
        """‖S‖/weight as a fraction of the unit length: 1 when all vectors point the same way."""
        if len(self._components[number]) == 1:
            return mixture.tightness(self._components[number][0])
        return self.sum(mixture, number).tightness()

    def cosine(self, mixture: Mixture, number: int, vector: Floats) -> float:
        """Cosine of `vector`, shape (d,), to the cluster's direction, at most 1."""
        return self.sum(mixture, number).cosine(vector)

    def _forget(self, number: int) -> None:
        self._sums.pop(number, None)
        self._counts.pop(number, None)


def sum_of(mixture: Mixture, components: Sequence[int]) -> ClusterSum:
    """The sum of some components: of those by id that fit below `MAX_WEIGHT` together."""
    weight, taken = 0, []
    for component in components:
        more = mixture.weight(component)
        if weight + more <= MAX_WEIGHT:
            weight += more
            taken.append(component)
    total = mixture.totals(taken).sum(axis=0) if len(taken) > 1 else mixture.total(taken[0])
    return _made(weight, total, whole=len(taken) == len(components))


def _made(weight: int, total: Floats, *, whole: bool = True) -> ClusterSum:
    return ClusterSum(weight, total, float(total @ total), whole)
