"""What the public sees of a cluster, put together from its components. Pure; used by what the fold sends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain

from tables.heroes import ranked
from tables.pet import HERO_CANDIDATES, HEROES_SHOWN, Listed, Pet


@dataclass(frozen=True)
class Face:
    """A cluster. `members`: best score first, all that its components list. `heroes`: candidates, best first; those of
    engines that group components are Candidates, none a near-duplicate of another.
    """

    number: int
    label: str
    member_count: int
    tightness: float
    members: list[Listed]
    heroes: list[Listed]


FaceOf = Callable[[int], Face]
"""The face of a cluster by its number, made once for all that an event sends."""


def faces_of(pet: Pet) -> FaceOf:
    """The faces of a pet's clusters as they stand."""
    return cache(partial(face_of, pet))


def face_of(pet: Pet, number: int) -> Face:
    """The cluster `number` of a pet. Of equal members and labels the earliest component's come first."""
    groups = [pet.groups[component] for component in pet.clusters.components(number)]
    if len(groups) == 1:
        members, heroes, votes = groups[0].members, groups[0].heroes, groups[0].votes
    else:
        members = sorted(chain.from_iterable(group.members for group in groups), key=lambda m: -m.score)
        heroes = list(chain.from_iterable(group.heroes for group in groups))
        if not pet.grouped:
            heroes.sort(key=lambda m: -m.quality)
        votes = {}
        for group in groups:
            for label, count in group.votes.items():
                votes[label] = votes.get(label, 0) + count
    if pet.grouped:
        heroes = list(ranked(heroes, HEROES_SHOWN))
    label = max(votes, key=lambda name: votes[name]) if votes else f"Cluster {number}"
    count, tightness = pet.clusters.count(pet.mixture, number), pet.clusters.tightness(pet.mixture, number)
    return Face(number, label, count, tightness, members, heroes[:HERO_CANDIDATES])
