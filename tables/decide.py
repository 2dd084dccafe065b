"""Accepts or refuses users' decisions. Pure; used by the fold, so that every replay comes to the same word.

    decision ──▶ what it names is there ──▶ nobody has decided about it since ──▶ where its images lie ──▶ no
    contradiction to another that holds

To add a kind: its arguments in schemas.decisions, and what it places in `_KINDS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from schemas.decisions import (
    Merge,
    NotHere,
    PinHero,
    RefusalCode,
    RemoveImages,
    Rename,
    Split,
    Together,
    Undo,
    parse_arguments,
)
from schemas.facts import DecisionSubmitted
from schemas.ids import UNCLUSTERED
from tables.bisection import smaller_half
from tables.contradictions import contradiction, dependent
from tables.mixture import Mixture
from tables.pet import Pet
from tables.recluster import Album
from tables.rules import CLUSTER_KINDS, REMOVED, Decision, images_held
from tables.shown import ShownClusters

MAX_DECISIONS: Final = 512
"""Decisions of one pet that hold."""
MAX_HELD: Final = 600_000
"""Characters of the image ids that they place: a recluster's row holds them beside all components and its version."""


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
class Verdict:
    """What an accepted decision does: `decisions` hold from now on, `decision` was made or, with `undone`, unmade."""

    decisions: tuple[Decision, ...]
    decision: Decision
    undone: bool = False


def decide(situation: Situation, fact: DecisionSubmitted, version: int) -> Verdict:
    """Settle `fact`, whose decision would make `version`. Raises Refused with the reason."""
    arguments = parse_arguments(fact.kind, fact.arguments)
    if fact.expected_version > situation.pet.version:
        raise Refused("not_found", f"there is no version {fact.expected_version}; the last is {situation.pet.version}")
    if isinstance(arguments, Undo):
        return _undo(situation, arguments.decision_id)
    placed = _KINDS[type(arguments)](situation, arguments)
    _check_since(situation, fact, placed)
    decision = _with_homes(situation, placed, fact, version)
    decisions = (*situation.decisions, decision)
    if len(decisions) > MAX_DECISIONS:
        raise Refused("too_many", f"{MAX_DECISIONS} decisions hold of this pet, which is the limit: undo some")
    if images_held(decisions) > MAX_HELD:
        raise Refused("too_many", "the decisions of this pet hold more images than can be kept: undo some")
    reason = contradiction(decisions, situation.gone)
    if reason:
        raise Refused("conflict", reason)
    return Verdict(decisions, decision)


@dataclass(frozen=True)
class _Placed:
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


def _rename(situation: Situation, given: Rename) -> _Placed:
    number = given.cluster
    situation.need_cluster(number)
    # What an earlier name of the cluster holds is not held twice; that name cannot be undone before this one.
    renames = {decision.decision_id for decision in situation.decisions if decision.kind == "rename"}
    by = situation.clusters.lookup.by
    images = tuple(image_id for image_id in situation.images(number) if by.get(image_id) not in renames)
    return _Placed(number, ((number, images),), name=given.name.strip(), about=(number,))


def _pin(situation: Situation, given: PinHero) -> _Placed:
    situation.need_cluster(given.cluster)
    situation.need_images([given.image_id], given.cluster)
    named = (given.image_id,)
    return _Placed(given.cluster, ((given.cluster, named),), named, about=(given.cluster,))


def _merge(situation: Situation, given: Merge) -> _Placed:
    for number in given.clusters:
        situation.need_cluster(number)
    first, *rest = given.clusters
    images = tuple(image_id for image_id, at in situation.place.items() if at in given.clusters)
    return _Placed(first, ((first, images),), ended=tuple(rest), about=given.clusters)


def _split(situation: Situation, given: Split) -> _Placed:
    number, begun = given.cluster, situation.pet.next_cluster
    situation.need_cluster(number)
    images = situation.images(number)
    named = given.image_ids or _half(situation, number, images)
    situation.need_images(named, number)
    apart = set(named)
    rest = tuple(image_id for image_id in images if image_id not in apart)
    if not rest:
        raise Refused("conflict", f"image_ids are all of cluster {number}: nothing would be left of it")
    return _Placed(begun, ((begun, named), (number, rest)), named, begun=True, about=(number,))


def _half(situation: Situation, number: int, images: Sequence[str]) -> tuple[str, ...]:
    vectors, width = situation.album.vectors, 2 * situation.pet.mixture.dimension
    known = [image_id for image_id in images if image_id in vectors and len(vectors[image_id].vector) == width]
    half = smaller_half([vectors[image_id].vector for image_id in known])
    if not half:
        raise Refused("conflict", f"cluster {number} cannot be split in two: its images do not differ")
    return tuple(known[row] for row in half)


def _not_here(situation: Situation, given: NotHere) -> _Placed:
    situation.need_cluster(given.cluster)
    situation.need_images(given.image_ids, given.cluster)
    return _Placed(given.cluster, ((UNCLUSTERED, given.image_ids),), given.image_ids, about=(given.cluster,))


def _together(situation: Situation, given: Together) -> _Placed:
    situation.need_images(given.image_ids)
    images = _closed(situation, given.image_ids)
    counts = Counter(at for image_id in images if (at := situation.place[image_id]) != UNCLUSTERED)
    begun = not counts
    number = situation.pet.next_cluster if begun else min(counts, key=lambda at: (-counts[at], at))
    return _Placed(number, ((number, images),), images, begun=begun)


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


def _remove(situation: Situation, given: RemoveImages) -> _Placed:
    situation.need_images(given.image_ids)
    return _Placed(places=((REMOVED, given.image_ids),), named=given.image_ids)


_KINDS: Final[dict[type, Callable[[Situation, Any], _Placed]]] = {
    Rename: _rename,
    PinHero: _pin,
    Merge: _merge,
    Split: _split,
    NotHere: _not_here,
    Together: _together,
    RemoveImages: _remove,
}


def _check_since(situation: Situation, fact: DecisionSubmitted, placed: _Placed) -> None:
    """Raises Refused when somebody has decided about the same since the version that the user saw."""
    about, named = set(placed.about), set(placed.named)
    for decision in situation.decisions:
        if decision.version <= fact.expected_version:
            continue
        whole = decision.kind in (*CLUSTER_KINDS, "together", fact.kind)  # of others only the images matter
        same = whole and about & decision.about
        if (same and fact.kind != "not_here") or named & set(decision.named):
            raise Refused(
                "moved_on",
                f"decision {decision.decision_id} ({decision.kind}) has changed this at version {decision.version}; "
                f"this one was made at version {fact.expected_version}",
            )
    for undone in situation.pet.undone:
        if undone.version > fact.expected_version and about & set(undone.clusters):
            raise Refused(
                "moved_on",
                f"a decision about this was undone at version {undone.version}; this one was made at version "
                f"{fact.expected_version}",
            )


def _with_homes(situation: Situation, placed: _Placed, fact: DecisionSubmitted, version: int) -> Decision:
    homes = homes_of(situation.pet.mixture, placed.places, lambda image_id: situation.album.where(image_id))
    return Decision(
        fact.decision_id, fact.kind, version, placed.cluster, placed.places, homes, placed.name, placed.ended,
        sources(situation, placed.places), placed.begun,
    )  # fmt: skip


def sources(situation: Situation, places: Iterable[tuple[int, Sequence[str]]]) -> tuple[int, ...]:
    """The clusters that the images lie in so far: by decisions, else of the mixture."""
    found = set()
    for number, image_ids in places:
        for image_id in image_ids:
            own = situation.pet.clusters.number(situation.album.where(image_id))
            at = situation.clusters.lookup.place.get(image_id, own)
            found.add(at if at != number else UNCLUSTERED)
    return tuple(sorted(number for number in found if number >= 0))


def homes_of(
    mixture: Mixture, places: Iterable[tuple[int, Sequence[str]]], where: Callable[[str], int]
) -> tuple[tuple[int, int], ...]:
    """The components whose images lie mostly among those that are placed in a cluster, and the cluster."""
    homes = []
    for number, image_ids in places:
        if number >= 0:
            inside = Counter(map(where, image_ids))
            homes += [
                (component, number)
                for component in sorted(inside.keys() & set(mixture.ids))
                if 2 * inside[component] > mixture.count(component)
            ]
    return tuple(homes)


def _undo(situation: Situation, decision_id: str) -> Verdict:
    undone = next((each for each in situation.decisions if each.decision_id == decision_id), None)
    if undone is None:
        raise Refused("not_found", f"no decision {decision_id} holds; an undo itself cannot be undone")
    later = dependent(undone, situation.decisions)
    if later is not None:
        raise Refused(
            "conflict", f"decision {later.decision_id} ({later.kind}) was made on top of it: undo that one before"
        )
    decisions = _without(situation, undone)
    reason = contradiction(decisions, situation.gone)
    if reason:
        raise Refused("conflict", reason)
    return Verdict(decisions, undone, undone=True)


def _without(situation: Situation, undone: Decision) -> tuple[Decision, ...]:
    """The other decisions; of those that took images from where the undone one had placed them, where they lay else."""
    place, found, images = dict[str, int](), [], {image_id for image_id, _ in undone.images()}
    for decision in situation.decisions:
        if decision is undone:
            continue
        own = [image_id for image_id, _ in decision.images()]
        if not images.isdisjoint(own):
            lay = set()
            for image_id, number in decision.images():
                at = place.get(image_id, situation.pet.clusters.number(situation.album.where(image_id)))
                lay.add(at if at != number else UNCLUSTERED)
            decision = msgspec.structs.replace(decision, sources=tuple(sorted(at for at in lay if at >= 0)))
        place.update(decision.images())
        found.append(decision)
    return tuple(found)
