"""The clusters that everybody sees: those of the mixture, with what users have decided about them. Pure; used for what
the fold sends.

    component ──▶ home that a decision gave it ──▶ cluster
              └─▶ cluster of the mixture ──▶ link ──▶ cluster

A pet without decisions shows the mixture's clusters as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from schemas.ids import UNCLUSTERED
from tables.clusters import Clusters, ClusterSum
from tables.mixture import Mixture
from tables.pet import Pet
from tables.rules import Part, Rules, Taken
from tables.vectors import MAX_WEIGHT, Floats, decode_sum


class ShownClusters:
    """Clusters by number as `tables.clusters.Clusters` tells them, of a pet with decisions.

    A cluster that a decision has made smaller than `rules.policy.min_cluster_size`, and in which none holds an image,
    is none any more.
    """

    def __init__(self, pet: Pet, rules: Rules) -> None:
        self.lookup = rules.lookup
        self._pet, self._rules = pet, rules
        self._links = self._link()
        numbers = {component: self._number(component) for component in pet.mixture.ids}
        self._counts: dict[int, int] = {number: part.count for number, part in rules.parts.items()}
        for component, number in numbers.items():
            if number != UNCLUSTERED:
                self._counts[number] = self._counts.get(number, 0) + self.others(component)
        decided = {number for component, number in numbers.items() if pet.groups[component].taken is not None}
        for number in decided - rules.parts.keys():
            if self._counts.get(number, 0) < rules.policy.min_cluster_size:
                self._counts.pop(number, None)
        self._numbers = {component: number for component, number in numbers.items() if number in self._counts}
        self._components: dict[int, list[int]] = {number: [] for number in self._counts}
        for component, number in self._numbers.items():
            self._components[number].append(component)
        self._sums: dict[int, ClusterSum] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def __contains__(self, number: int) -> bool:
        return number in self._counts

    def numbers(self) -> Set[int]:
        """All cluster numbers."""
        return self._counts.keys()

    def number(self, component: int) -> int:
        """Where the images of a component lie that no decision places, or UNCLUSTERED."""
        return self._numbers.get(component, UNCLUSTERED)

    def place(self, image_id: str, component: int) -> int:
        """Where an image of a component lies; `REMOVED` for one that is no longer in the album."""
        return self.lookup.place.get(image_id, self.number(component))

    def link(self, number: int) -> int:
        """The cluster that shows the mixture's cluster `number`, or UNCLUSTERED."""
        linked = self._links.get(number, self.lookup.standing(number))
        return linked if linked in self._counts else UNCLUSTERED

    def components(self, number: int) -> Sequence[int]:
        """The components of which a cluster shows what no decision places, rising."""
        return self._components[number]

    def others(self, component: int) -> int:
        """How many images of a component no decision places."""
        taken = self.taken(component)
        return self._pet.mixture.count(component) - (taken.count if taken else 0)

    def count(self, mixture: Mixture, number: int) -> int:
        """How many images lie in a cluster."""
        return self._counts[number]

    def counts(self, mixture: Mixture) -> Mapping[int, int]:
        """Cluster → how many images lie in it."""
        return self._counts

    def part(self, number: int) -> Part | None:
        """What decisions hold in a cluster."""
        return self._rules.parts.get(number)

    def taken(self, component: int) -> Taken | None:
        """What decisions hold of a component's images."""
        return self._pet.groups[component].taken

    def sum(self, mixture: Mixture, number: int) -> ClusterSum:
        """The sum of the cluster's images: of as many, by component id, as keep it exact."""
        found = self._sums.get(number)
        if found is None:
            found = self._sums[number] = self._sum(number)
        return found

    def tightness(self, mixture: Mixture, number: int) -> float:
        """‖S‖/weight as a fraction of the unit length; 0 where no vector is of the model in force."""
        return self.sum(mixture, number).tightness()

    def cosine(self, mixture: Mixture, number: int, vector: Floats) -> float:
        """Cosine of `vector`, shape (d,), to the cluster's direction, at most 1; 0 where it has none."""
        return self.sum(mixture, number).cosine(vector)

    def _sum(self, number: int) -> ClusterSum:
        mixture, part = self._pet.mixture, self._rules.parts.get(number)
        weight, total = 0, np.zeros(mixture.dimension)
        if part is not None and part.weight:
            weight, total = part.weight, decode_sum(part.total, mixture.dimension)
        for component in self._components[number]:
            taken = self.taken(component)
            more, inside = mixture.weight(component), mixture.total(component)
            if taken is not None and more == mixture.count(component):  # else the sum may lack what is taken
                more, inside = more - taken.count, inside - decode_sum(taken.total, mixture.dimension)
            if more and weight + more <= MAX_WEIGHT:
                weight, total = weight + more, total + inside
        return ClusterSum(weight, total, float(total @ total))

    def _number(self, component: int) -> int:
        home = self.lookup.homes.get(component)
        if home is not None:
            return self.lookup.standing(home)
        number = self._pet.clusters.number(component)
        return UNCLUSTERED if number == UNCLUSTERED else self._links.get(number, self.lookup.standing(number))

    def _link(self) -> dict[int, int]:
        """The mixture's clusters in which most images of a cluster lie that a decision holds: they are shown as it.

        Of several such clusters the mixture's own comes first, then the one with the most images there. One that the
        mixture goes on with itself, elsewhere, needs none.
        """
        lies: dict[int, dict[int, int]] = {}
        held = {self.lookup.standing(number) for number in self.lookup.held if number >= 0}
        for group in self._pet.groups.values():
            number = group.number
            for shown, count in group.taken.by.items() if group.taken is not None else ():
                if number != UNCLUSTERED and shown in held:
                    there = lies.setdefault(shown, {})
                    there[number] = there.get(number, 0) + count
        claims: dict[int, list[tuple[bool, int, int]]] = {}
        for shown, there in lies.items():
            most = min(there, key=lambda number: (-there[number], number))
            if most == shown or shown not in self._pet.clusters:
                claims.setdefault(most, []).append((most != shown, -there[most], shown))
        return {number: min(found)[2] for number, found in claims.items()}


@dataclass(frozen=True)
class View:
    """What everybody sees of a pet: its clusters, and how many images there are in all, and in none of them."""

    clusters: Clusters | ShownClusters
    image_count: int
    unclustered_count: int

    @property
    def decided(self) -> ShownClusters | None:
        """The clusters, where users have decided something."""
        return self.clusters if isinstance(self.clusters, ShownClusters) else None


def view_of(pet: Pet, rules: Rules | None = None) -> View:
    """What everybody sees of `pet` as it stands. `rules`: where they are to count instead of its own."""
    rules = pet.rules if rules is None else rules
    if rules is None:
        return View(pet.clusters, pet.image_count, pet.unclustered_count)
    clusters = ShownClusters(pet, rules)
    images = pet.image_count - clusters.lookup.removed
    return View(clusters, images, images - sum(clusters.counts(pet.mixture).values()))
