"""A mixture of directional components, kept as counts and exact sums. It knows vectors and component ids, nothing of
pets.

State: per component an id, `count` (vectors it took), `weight` (vectors in its sum) and the sum S, integer-valued.
Engines (tables.engines) decide; this file only computes. The direction of a component is S/‖S‖.

    cosine(x, k) = x·S_k / (√(x·x) · √(S_k·S_k))

Dots are exact (tables.vectors), and + × ÷ √ are correctly rounded by IEEE 754, so every cosine has the same bits
everywhere.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from math import sqrt

import numpy as np

from tables.vectors import MAX_WEIGHT, SCALE, Floats


@dataclass(frozen=True)
class ComponentSums:
    """One component as it is stored. `total` has shape (d,)."""

    component: int
    count: int
    weight: int
    total: Floats


class Mixture:
    """Components of vectors with `dimension` values; rows are ordered by component id."""

    def __init__(self, dimension: int, room: int = 1) -> None:
        """`room`: how many components it can take before its arrays grow."""
        self.dimension = dimension
        self.ids: list[int] = []
        self.counts: list[int] = []
        self.weights: list[int] = []
        self._sums = np.zeros((room, dimension))
        self._squares = np.zeros(room)  # S·S of each row

    def __len__(self) -> int:
        return len(self.ids)

    def memory(self) -> int:
        """Bytes of the sums."""
        return int(self._sums.nbytes)

    def cosines(self, vector: Floats) -> Floats:
        """Cosine of `vector`, shape (d,), to each component's direction, shape (k,), in the order of `ids`."""
        size = len(self.ids)
        dots = self._sums[:size] @ vector
        cosines: Floats = dots / (np.sqrt(self._squares[:size]) * sqrt(float(vector @ vector)))
        return cosines

    def total(self, component: int) -> Floats:
        """A copy of the component's sum, shape (d,)."""
        row: Floats = self._sums[self._row(component)].copy()
        return row

    def count(self, component: int) -> int:
        """How many vectors the component took."""
        return self.counts[self._row(component)]

    def cosine(self, component: int, vector: Floats) -> float:
        """Cosine of `vector` to one component's direction, at most 1."""
        row = self._row(component)
        dot = float(self._sums[row] @ vector)
        return min(1.0, dot / (sqrt(float(self._squares[row])) * sqrt(float(vector @ vector))))

    def tightness(self, component: int) -> float:
        """‖S‖/weight as a fraction of the unit length: 1 when all vectors point the same way."""
        row = self._row(component)
        return min(1.0, sqrt(float(self._squares[row])) / (self.weights[row] * SCALE))

    def open(self, component: int, vector: Floats) -> None:
        """Add a component that holds one vector. Ids only ever rise."""
        self.restore(ComponentSums(component, 1, 1, vector))

    def restore(self, sums: ComponentSums) -> None:
        """Add a stored component at the place of its id."""
        row = bisect.bisect_left(self.ids, sums.component)
        size = len(self.ids)
        if size == len(self._squares):
            more = 1 + size // 4  # a worker keeps many pets: room that is not used is paid for
            self._sums = np.concatenate([self._sums, np.zeros((more, self.dimension))])
            self._squares = np.concatenate([self._squares, np.zeros(more)])
        self._sums[row + 1 : size + 1] = self._sums[row:size].copy()
        self._squares[row + 1 : size + 1] = self._squares[row:size].copy()
        self.ids.insert(row, sums.component)
        self.counts.insert(row, sums.count)
        self.weights.insert(row, sums.weight)
        self._put(row, sums.total)

    def grow(self, component: int, vector: Floats) -> None:
        """Let a component take a vector. At `MAX_WEIGHT` its sum stops growing, so that dots stay exact."""
        row = self._row(component)
        self.counts[row] += 1
        if self.weights[row] < MAX_WEIGHT:
            self.weights[row] += 1
            self._put(row, self._sums[row] + vector)

    def merge(self, source: int, target: int) -> None:
        """Let `target` take all of `source`, which ends. Past `MAX_WEIGHT` the heavier sum stands for both."""
        row, other = self._row(target), self._row(source)
        self.counts[row] += self.counts[other]
        if self.weights[row] + self.weights[other] <= MAX_WEIGHT:
            self.weights[row] += self.weights[other]
            self._put(row, self._sums[row] + self._sums[other])
        elif self.weights[other] > self.weights[row]:
            self.weights[row] = self.weights[other]
            self._put(row, self._sums[other].copy())
        self.remove(source)

    def remove(self, component: int) -> None:
        """Drop a component."""
        row, size = self._row(component), len(self.ids)
        self._sums[row : size - 1] = self._sums[row + 1 : size].copy()
        self._squares[row : size - 1] = self._squares[row + 1 : size].copy()
        del self.ids[row], self.counts[row], self.weights[row]

    def sums(self, component: int) -> ComponentSums:
        """The component as it is stored."""
        row = self._row(component)
        return ComponentSums(component, self.counts[row], self.weights[row], self._sums[row].copy())

    def _row(self, component: int) -> int:
        row = bisect.bisect_left(self.ids, component)
        if row == len(self.ids) or self.ids[row] != component:
            raise KeyError(component)
        return row

    def _put(self, row: int, total: Floats) -> None:
        square = float(total @ total)
        assert square < 2**53, "a sum beyond MAX_WEIGHT would make dots inexact"
        self._sums[row] = total
        self._squares[row] = square
