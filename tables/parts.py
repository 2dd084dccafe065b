"""Counts what users' decisions hold: the decided images of each cluster, and of each component. Pure; used by the fold,
whenever a decision is settled, the album is folded anew, or a decided image arrives once more, as under another model.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from schemas.facts import Policy
from tables import heroes
from tables.changes import listed, member_limit
from tables.membership import side
from tables.pet import Candidate, Listed, Pet, Rated, Waiting
from tables.recluster import Album, waiting_image
from tables.rules import REMOVED, Decision, Lookup, Part, Rules, Taken
from tables.shown import ShownClusters
from tables.vectors import MAX_WEIGHT, Floats, dequantize, encode_sum

_NONE: Final = np.zeros(0)
"""The vector of an image that has none of the model in force."""


@dataclass
class _Tally:
    """A part while it is being counted."""

    total: Floats
    weight: int = 0
    votes: dict[str, int] = field(default_factory=dict)
    images: list[tuple[Waiting, Floats]] = field(default_factory=list)

    def take(self, image: Waiting, vector: Floats, labels: Iterable[str]) -> None:
        self.images.append((image, vector))
        for label in dict.fromkeys(labels):
            self.votes[label] = self.votes.get(label, 0) + 1
        if len(vector) and self.weight < MAX_WEIGHT:
            self.weight += 1
            self.total += vector

    def part(self) -> Part:
        return Part(len(self.images), self.weight, encode_sum(self.total), (), (), self.votes)


def counted(
    pet: Pet, decisions: Sequence[Decision], album: Album, policy: Policy
) -> tuple[Rules | None, dict[str, float]]:
    """What `decisions` hold of the album as `pet` has it, None without any; and the score of each decided image.

    The score is the cosine to the direction of the cluster that everybody sees; 1 in none.
    """
    if not decisions:
        return None, {}
    decisions = _with_sources(pet, decisions, album)
    place, dimension = Lookup(decisions).place, pet.mixture.dimension
    tallies: dict[int, _Tally] = {}
    taken: dict[int, tuple[dict[int, int], Floats]] = {}
    for image_id, first in album.order.items():
        number, image = place.get(image_id), album.vectors.get(image_id)
        if number is None:
            continue
        vector = dequantize(image.vector) if image is not None and len(image.vector) == 2 * dimension else _NONE
        component = album.where(image_id)
        if len(vector) and component in pet.groups:
            by, total = taken.setdefault(component, ({}, np.zeros(dimension)))
            by[number] = by.get(number, 0) + 1
            total += vector
        if number != REMOVED:
            tally = tallies.setdefault(number, _Tally(np.zeros(dimension)))
            tally.take(waiting_image(image or first, grouped=True), vector, album.labels[image_id])
    left = _left(album, place, taken)
    rules = Rules(
        policy,
        tuple(decisions),
        {number: tallies[number].part() for number in sorted(tallies) if number >= 0},
        {
            component: Taken(by, encode_sum(total), *_listed(left.get(component, []), policy))
            for component, (by, total) in sorted(taken.items())
        },
    )
    clusters = ShownClusters(pet, rules)
    parts, scores = {}, dict.fromkeys((image_id for image_id, number in place.items() if number < 0), 1.0)
    for number, part in rules.parts.items():
        beside = [_beside(pet, clusters, number, *image) for image in tallies[number].images]
        scores.update((shown.image_id, shown.score) for shown, _ in beside)
        parts[number] = _faced(part, beside, clusters.lookup.pins, number, policy)
    return msgspec.structs.replace(rules, parts=parts), scores


def _with_sources(pet: Pet, decisions: Sequence[Decision], album: Album) -> list[Decision]:
    """The decisions with where their images would lie by those before and the mixture alone."""
    place, found = dict[str, int](), []
    for decision in decisions:
        sources = set()
        for image_id, number in decision.images():
            at = place.get(image_id, pet.clusters.number(album.where(image_id)))
            if at >= 0 and at != number:
                sources.add(at)
            place[image_id] = number
        found.append(msgspec.structs.replace(decision, sources=tuple(sorted(sources))))
    return found


def _left(album: Album, place: Mapping[str, int], components: Container[int]) -> dict[int, list[Rated]]:
    """The other images of these components."""
    left: dict[int, list[Rated]] = {}
    for image_id, image in album.vectors.items():
        component = album.where(image_id)
        if component in components and image_id not in place:
            found = waiting_image(image, grouped=True)
            assert isinstance(found, Rated), "it was asked for"
            left.setdefault(component, []).append(found)
    return left


def _listed(images: Sequence[Rated], policy: Policy) -> tuple[tuple[Listed, ...], tuple[Candidate, ...]]:
    """Of those the members with the best score, and the best candidates; how close they are is as good as unknown."""
    members = sorted(map(listed, images), key=lambda member: -member.score)[: member_limit(policy)]
    candidates = [heroes.candidate(listed(image), image.phash, image.parts, None) for image in images]
    return tuple(members), tuple(each for each in heroes.kept(candidates) if isinstance(each, Candidate))


def _beside(pet: Pet, clusters: ShownClusters, number: int, image: Waiting, vector: Floats) -> tuple[Listed, Candidate]:
    """An image of a cluster as a member with its score, and as a candidate."""
    score, closeness = 0.0, None
    if len(vector):
        score = clusters.cosine(pet.mixture, number, vector)
        others = side(vector, clusters.sum(pet.mixture, number), inside=True)
        closeness = others.cosine * others.tightness if others.weight else None
    shown = listed(msgspec.structs.replace(image, score=score))
    parts = image.parts if isinstance(image, Rated) else ()
    return shown, heroes.candidate(shown, image.phash, parts, closeness)


def _faced(
    part: Part,
    beside: Sequence[tuple[Listed, Candidate]],
    pins: Mapping[int, Sequence[str]],
    number: int,
    policy: Policy,
) -> Part:
    """The part with the images that stand for it; a pinned one always does."""
    members = sorted((shown for shown, _ in beside), key=lambda shown: -shown.score)[: member_limit(policy)]
    kept = [each for each in heroes.kept(candidate for _, candidate in beside) if isinstance(each, Candidate)]
    pinned = [each for _, each in beside if each.image_id in pins.get(number, ()) and each not in kept]
    return msgspec.structs.replace(part, members=tuple(members), heroes=(*pinned, *kept))
