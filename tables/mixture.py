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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np

from tables.sketch import WIDTH, sketches
from tables.vectors import MAX_WEIGHT, SCALE, Floats

SCANNED: Final = 192
"""Up to so many components, looking at each of them costs less than choosing by sketches."""


@dataclass(frozen=True)
class ComponentSums:
    """One component as it is stored. `total` has shape (d,)."""

    component: int
    count: int
    weight: int
    total: Floats


class Mixture:
    """Components of vectors with `dimension` values. `ids`, `counts` and `weights` are ordered by component id.

    Rows of the arrays are in that order, too; a removed component leaves a hole until there are many.
    """

    def __init__(self, dimension: int, room: int = 1) -> None:
        """`room`: how many components it can take before its arrays grow."""
        self.dimension = dimension
        self.ids: list[int] = []
        self.counts: list[int] = []
        self.weights: list[int] = []
        self._rows: list[int] = []
        self._row_of: dict[int, int] = {}
        self._used = 0
        self._sums = np.zeros((room, dimension))
        self._squares = np.ones(room)  # S·S of each row
        self._sketches: Floats | None = None  # only where an engine asks for shortlists

    def __len__(self) -> int:
        return len(self.ids)

    def memory(self) -> int:
        """Bytes of the sums and sketches."""
        return int(self._sums.nbytes) + (0 if self._sketches is None else int(self._sketches.nbytes))

    def cosines(self, vector: Floats) -> Floats:
        """Cosine of `vector`, shape (d,), to each component's direction, shape (k,), in the order of `ids`."""
        used = self._used
        dots = self._sums[:used] @ vector
        cosines: Floats = dots / (np.sqrt(self._squares[:used]) * sqrt(float(vector @ vector)))
        return cosines if used == len(self.ids) else cosines[self._rows]

    def shortlists(self, vectors: Floats, limit: int) -> list[list[int]] | None:
        """Of each of `vectors`, shape (m, d), about `limit` components that are likely the nearest. None: all are."""
        if len(self.ids) <= max(limit, SCANNED):
            return None
        used = self._used
        estimates = (sketches(vectors) @ self._sketched()[:used].T) / np.sqrt(self._squares[:used])
        if used > len(self.ids):
            estimates = estimates[:, self._rows]
        last = len(self.ids) - limit
        least = np.partition(estimates, last, axis=1)[:, last : last + 1]
        # By value, not by argpartition: which of several equal ones it takes is not laid down.
        return [[self.ids[place] for place in np.flatnonzero(row)] for row in estimates >= least]

    def some_cosines(self, components: Sequence[int], vector: Floats) -> Floats:
        """As `cosines`, of these components, in their order."""
        rows = [self._row(component) for component in components]
        dots = self._sums[rows] @ vector
        cosines: Floats = dots / (np.sqrt(self._squares[rows]) * sqrt(float(vector @ vector)))
        return cosines

    def total(self, component: int) -> Floats:
        """A copy of the component's sum, shape (d,)."""
        total: Floats = self._sums[self._row(component)].copy()
        return total

    def totals(self, components: Iterable[int]) -> Floats:
        """The sums of several components, shape (k, d)."""
        totals: Floats = self._sums[[self._row(component) for component in components]]
        return totals

    def count(self, component: int) -> int:
        """How many vectors the component took."""
        return self.counts[self._place(component)]

    def weight(self, component: int) -> int:
        """How many vectors its sum holds."""
        return self.weights[self._place(component)]

    def cosine(self, component: int, vector: Floats) -> float:
        """Cosine of `vector` to one component's direction, at most 1."""
        row = self._row(component)
        dot = float(self._sums[row] @ vector)
        return min(1.0, dot / (sqrt(float(self._squares[row])) * sqrt(float(vector @ vector))))

    def tightness(self, component: int) -> float:
        """‖S‖/weight as a fraction of the unit length: 1 when all vectors point the same way."""
        place = self._place(component)
        return min(1.0, sqrt(float(self._squares[self._rows[place]])) / (self.weights[place] * SCALE))

    def open(self, component: int, vector: Floats) -> None:
        """Add a component that holds one vector. Ids only ever rise."""
        self.restore(ComponentSums(component, 1, 1, vector))

    def restore(self, sums: ComponentSums) -> None:
        """Add a stored component. Ids only ever rise."""
        assert not self.ids or sums.component > self.ids[-1], "components are added in the order of their ids"
        if self._used == len(self._squares):
            self._make_room()
        row = self._used
        self._used += 1
        self.ids.append(sums.component)
        self.counts.append(sums.count)
        self.weights.append(sums.weight)
        self._rows.append(row)
        self._row_of[sums.component] = row
        self._put(row, sums.total)

    def grow(self, component: int, vector: Floats) -> None:
        """Let a component take a vector. At `MAX_WEIGHT` its sum stops growing, so that dots stay exact."""
        place = self._place(component)
        self.counts[place] += 1
        if self.weights[place] < MAX_WEIGHT:
            self.weights[place] += 1
            row = self._rows[place]
            self._put(row, self._sums[row] + vector)

    def merge(self, source: int, target: int) -> None:
        """Let `target` take all of `source`, which ends. Past `MAX_WEIGHT` the heavier sum stands for both."""
        place, other = self._place(target), self._place(source)
        row, other_row = self._rows[place], self._rows[other]
        self.counts[place] += self.counts[other]
        if self.weights[place] + self.weights[other] <= MAX_WEIGHT:
            self.weights[place] += self.weights[other]
            self._put(row, self._sums[row] + self._sums[other_row])
        elif self.weights[other] > self.weights[place]:
            self.weights[place] = self.weights[other]
            self._put(row, self._sums[other_row].copy())
        self.remove(source)

    def remove(self, component: int) -> None:
        """Drop a component."""
        place = self._place(component)
        del self.ids[place], self.counts[place], self.weights[place], self._rows[place], self._row_of[component]
        if self._used - len(self.ids) > 8 + len(self.ids) // 4:
            self._close_holes()

    def sums(self, component: int) -> ComponentSums:
        """The component as it is stored."""
        place = self._place(component)
        total = self._sums[self._rows[place]].copy()
        return ComponentSums(component, self.counts[place], self.weights[place], total)

    def _place(self, component: int) -> int:
        place = bisect.bisect_left(self.ids, component)
        if place == len(self.ids) or self.ids[place] != component:
            raise KeyError(component)
        return place

    def _row(self, component: int) -> int:
        return self._row_of[component]

    def _put(self, row: int, total: Floats) -> None:
        square = float(total @ total)
        assert square < 2**53, "a sum beyond MAX_WEIGHT would make dots inexact"
        self._sums[row] = total
        self._squares[row] = square
        if self._sketches is not None:
            self._sketches[row] = sketches(total[None, :])[0]

    def _sketched(self) -> Floats:
        if self._sketches is None:
            self._sketches = np.zeros((len(self._squares), WIDTH))
            self._sketches[: self._used] = sketches(self._sums[: self._used])
        return self._sketches

    def _make_room(self) -> None:
        if self._used > len(self.ids):
            self._close_holes()
            return
        more = 1 + self._used // 4  # a worker keeps many pets: room that is not used is paid for
        self._sums = np.concatenate([self._sums, np.zeros((more, self.dimension))])
        self._squares = np.concatenate([self._squares, np.ones(more)])
        if self._sketches is not None:
            self._sketches = np.concatenate([self._sketches, np.zeros((more, WIDTH))])

    def _close_holes(self) -> None:
        size = len(self.ids)
        for array in (self._sums, self._squares, self._sketches):
            if array is not None:
                array[:size] = array[self._rows]
        self._rows = list(range(size))
        self._row_of = dict(zip(self.ids, self._rows, strict=True))
        self._used = size
