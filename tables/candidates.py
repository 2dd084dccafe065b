"""Keeps the candidates of the components and marks the hero of each cluster, for engines that group. Pure; used by
`grouping`, once an event's clusters stand. What makes a hero is decided in tables.heroes.
"""

from __future__ import annotations

from collections.abc import Set

import msgspec

from schemas.ids import UNCLUSTERED
from tables import heroes
from tables.changes import Changes, listed
from tables.membership import own_side
from tables.pet import Candidate, Pet, Rated, Waiting
from tables.vectors import Floats


def offer(pet: Pet, component: int, image: Waiting, vector: Floats) -> None:
    """Consider an image as a hero of its cluster; one that was considered before is so anew."""
    group = pet.groups[component]
    parts = image.parts if isinstance(image, Rated) else ()
    offered = heroes.candidate(listed(image), image.phash, parts, _closeness(pet, component, vector))
    before = next((each for each in group.heroes if each.image_id == image.image_id), None)
    if isinstance(before, Candidate) and before.hero:
        offered = msgspec.structs.replace(offered, hero=True)
    group.heroes = heroes.kept([offered, *(each for each in group.heroes if each is not before)])


def accompany(pet: Pet, component: int, vector: Floats, fresh: Set[str]) -> None:
    """Who was alone in a component that the event's images joined now has a closeness, too: to them."""
    group = pet.groups[component]
    alone = [each for each in group.heroes if each.image_id not in fresh]
    near = _closeness(pet, component, vector) if len(alone) == 1 else None
    if near is not None:
        group.heroes = heroes.kept([heroes.beside(each, near) for each in alone])


def elect(pet: Pet, changes: Changes) -> None:
    """Mark the hero of each cluster whose candidates changed, so that another must be clearly better to follow it."""
    numbers = {pet.clusters.number(component) for component in changes.touched} | changes.clusters
    for number in sorted(numbers & pet.clusters.numbers()):
        components = pet.clusters.components(number)
        offered = [candidate for component in components for candidate in pet.groups[component].heroes]
        first = heroes.ranked(offered, 1)
        for component in components:
            marked = heroes.elected(pet.groups[component].heroes, first[0].image_id if first else "")
            if marked is not None:
                pet.groups[component].heroes = marked
                changes.touched.add(component)


def _closeness(pet: Pet, component: int, vector: Floats) -> float | None:
    """Mean cosine of an image of the component to the others of its cluster; None where there are none."""
    if pet.clusters.number(component) == UNCLUSTERED:
        return None
    others = own_side(pet.mixture, pet.clusters, component, vector)
    return others.cosine * others.tightness if others.weight else None
