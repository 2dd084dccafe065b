"""What the public sees of a cluster, put together from its components. Pure; used by what the fold sends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain

from tables.clusters import Clusters
from tables.heroes import first_of, ranked
from tables.pet import HERO_CANDIDATES, HEROES_SHOWN, Listed, Pet
from tables.rules import Lookup
from tables.shown import ShownClusters


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


def faces_of(pet: Pet, clusters: Clusters | ShownClusters) -> FaceOf:
    """The faces of a pet's clusters as they are shown now."""
    if isinstance(clusters, ShownClusters):
        return cache(partial(decided_face, pet, clusters))
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


def decided_face(pet: Pet, clusters: ShownClusters, number: int) -> Face:
    """The same of a pet with decisions: what its components show but for images that a decision holds, and those that
    one holds here. A pinned image comes first, and the name that a user gave is the label.
    """
    part, lookup = clusters.part(number), clusters.lookup
    members, candidates = list[Listed](part.members if part else ()), list[Listed](part.heroes if part else ())
    votes: dict[str, int] = dict(part.votes) if part else {}
    for component in clusters.components(number):
        if not clusters.others(component):
            continue
        group, taken = pet.groups[component], clusters.taken(component)
        members += group.members if taken is None else _others(group.members, taken.members, lookup)
        candidates += group.heroes if taken is None else _others(group.heroes, taken.heroes, lookup)
        theirs = {} if taken is None else taken.votes
        for label, count in group.votes.items():
            if count > theirs.get(label, 0):
                votes[label] = votes.get(label, 0) + count - theirs.get(label, 0)
    members.sort(key=lambda member: -member.score)
    pins = lookup.pins.get(number, [])
    pinned = [each for pin in pins for each in candidates if each.image_id == pin]
    found = first_of(pinned, ranked(candidates, HEROES_SHOWN + len(pinned)))
    label = lookup.names.get(number) or (max(votes, key=lambda name: votes[name]) if votes else f"Cluster {number}")
    count, tightness = clusters.count(pet.mixture, number), clusters.tightness(pet.mixture, number)
    return Face(number, label, count, tightness, members, found[:HERO_CANDIDATES])


def _others(listed: Iterable[Listed], left: Iterable[Listed], lookup: Lookup) -> list[Listed]:
    """Images of a component that no decision holds, each once: what the component itself says of it first."""
    found: dict[str, Listed] = {}
    for each in chain(listed, left):
        if each.image_id not in lookup.place:
            found.setdefault(each.image_id, each)
    return list(found.values())
