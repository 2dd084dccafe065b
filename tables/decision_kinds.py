"""What each kind of decision says of an album: where which images lie. Pure; used by `tables.decide`.

To add a kind: its arguments in schemas.decisions, and what it places here, in `KINDS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from schemas.decisions import Merge, NotHere, PinHero, RefusalCode, RemoveImages, Rename, Split, Together
from schemas.ids import UNCLUSTERED
from tables.bisection import smaller_half
from tables.pet import Pet
from tables.recluster import Album
from tables.rules import REMOVED, Decision
from tables.shown import ShownClusters


class Refused(Exception):
    """The decision does not hold; the message is the reason in words."""

    def __init__(self, code: RefusalCode, reason: str) -> None:
        super().__init__(reason)
        self.code: RefusalCode = code


@dataclass(frozen=True)
class Situation:
    """The album that a decision is about. `place`: where each image of `album` lies. `gone`: see tables.rules."""

    pet: Pet
    album: Album
    clusters: ShownClusters
    decisions: tuple[Decision, ...]
    gone: tuple[str, ...]
    place: Mapping[str, int]

    def images(self, number: int) -> tuple[str, ...]:
        """All images of a cluster, in the order in which they came."""
        return tuple(image_id for image_id, at in self.place.items() if at == number)

    def need_cluster(self, number: int) -> None:
        """Raises Refused unless the cluster is there."""
        if number in self.clusters:
            return
        if number >= self.pet.next_cluster:
            raise Refused("not_found", f"there is no cluster {number}")
        successor = self.clusters.lookup.standing(number)
        if successor == number:
            while successor in self.pet.aliases:
                successor = self.pet.aliases[successor]
            successor = self.clusters.link(successor)
        ended = f"; its images went to cluster {successor}" if successor in self.clusters else ""
        raise Refused("moved_on", f"cluster {number} is no longer there{ended}")

    def need_images(self, image_ids: Iterable[str], number: int | None = None) -> None:
        """Raises Refused unless the images are in the album, and, if given, in the cluster `number`."""
        for image_id in image_ids:
            at = self.place.get(image_id, REMOVED)
            if at == REMOVED:
                raise Refused("not_found", f"image {image_id} is not in the album")
            if number is not None and at != number:
                there = "in no cluster" if at == UNCLUSTERED else f"in cluster {at}"
                raise Refused("moved_on", f"image {image_id} is not in cluster {number}, but {there}")


@dataclass(frozen=True)
class Placed:
    """What a decision of some kind says; the fields are those of `Decision`. `about`: clusters that it names; `named`:
    images that it names.
    """

    cluster: int = UNCLUSTERED
    places: tuple[tuple[int, tuple[str, ...]], ...] = ()
    named: tuple[str, ...] = ()
    name: str = ""
    ended: tuple[int, ...] = ()
    begun: bool = False
    about: tuple[int, ...] = ()


def _rename(situation: Situation, given: Rename) -> Placed:
    number = given.cluster
    situation.need_cluster(number)
    # What an earlier name of the cluster holds is not held twice; that name cannot be undone before this one.
    renames = {decision.decision_id for decision in situation.decisions if decision.kind == "rename"}
    by = situation.clusters.lookup.by
    images = tuple(image_id for image_id in situation.images(number) if by.get(image_id) not in renames)
    return Placed(number, ((number, images),), name=given.name.strip(), about=(number,))


def _pin(situation: Situation, given: PinHero) -> Placed:
    situation.need_cluster(given.cluster)
    situation.need_images([given.image_id], given.cluster)
    named = (given.image_id,)
    return Placed(given.cluster, ((given.cluster, named),), named, about=(given.cluster,))


def _merge(situation: Situation, given: Merge) -> Placed:
    for number in given.clusters:
        situation.need_cluster(number)
    first, *rest = given.clusters
    images = tuple(image_id for image_id, at in situation.place.items() if at in given.clusters)
    return Placed(first, ((first, images),), ended=tuple(rest), about=given.clusters)


def _split(situation: Situation, given: Split) -> Placed:
    number, begun = given.cluster, situation.pet.next_cluster
    situation.need_cluster(number)
    images = situation.images(number)
    named = given.image_ids or _half(situation, number, images)
    situation.need_images(named, number)
    apart = set(named)
    rest = tuple(image_id for image_id in images if image_id not in apart)
    if not rest:
        raise Refused("conflict", f"image_ids are all of cluster {number}: nothing would be left of it")
    return Placed(begun, ((begun, named), (number, rest)), named, begun=True, about=(number,))


def _half(situation: Situation, number: int, images: Sequence[str]) -> tuple[str, ...]:
    vectors, width = situation.album.vectors, 2 * situation.pet.mixture.dimension
    known = [image_id for image_id in images if image_id in vectors and len(vectors[image_id].vector) == width]
    half = smaller_half([vectors[image_id].vector for image_id in known])
    if not half:
        raise Refused("conflict", f"cluster {number} cannot be split in two: its images do not differ")
    return tuple(known[row] for row in half)


def _not_here(situation: Situation, given: NotHere) -> Placed:
    situation.need_cluster(given.cluster)
    situation.need_images(given.image_ids, given.cluster)
    return Placed(given.cluster, ((UNCLUSTERED, given.image_ids),), given.image_ids, about=(given.cluster,))


def _together(situation: Situation, given: Together) -> Placed:
    situation.need_images(given.image_ids)
    images = _closed(situation, given.image_ids)
    counts = Counter(at for image_id in images if (at := situation.place[image_id]) != UNCLUSTERED)
    begun = not counts
    number = situation.pet.next_cluster if begun else min(counts, key=lambda at: (-counts[at], at))
    return Placed(number, ((number, images),), images, begun=begun)


def _closed(situation: Situation, image_ids: Sequence[str]) -> tuple[str, ...]:
    """The images, and all that belong together with one of them by a decision that holds."""
    found = dict.fromkeys(image_ids)
    groups = [decision.named for decision in situation.decisions if decision.kind == "together"]
    grown = True
    while grown:
        joined = [group for group in groups if not found.keys().isdisjoint(group)]
        more = dict.fromkeys(image_id for group in joined for image_id in group if situation.place[image_id] != REMOVED)
        grown = not more.keys() <= found.keys()
        found |= more
    return tuple(found)


def _remove(situation: Situation, given: RemoveImages) -> Placed:
    situation.need_images(given.image_ids)
    return Placed(places=((REMOVED, given.image_ids),), named=given.image_ids)


KINDS: Final[dict[type, Callable[[Situation, Any], Placed]]] = {
    Rename: _rename,
    PinHero: _pin,
    Merge: _merge,
    Split: _split,
    NotHere: _not_here,
    Together: _together,
    RemoveImages: _remove,
}
