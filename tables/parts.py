"""Counts what users' decisions hold: the decided images of each cluster, and of each component. Pure; used by the fold.

Anew from the album when a decision is settled or the album is folded anew (`counted`); image by image as photos arrive
in components of which decisions hold some (`arrived`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from schemas.facts import Policy
from tables import heroes
from tables.changes import listed, member_limit
from tables.membership import side
from tables.pet import Candidate, Group, Listed, Pet, Rated, Waiting
from tables.recluster import Album, waiting_image
from tables.rows import UNFOLDED, ImageRow
from tables.rules import REMOVED, Part, Rules, Taken
from tables.shown import ShownClusters
from tables.vectors import MAX_WEIGHT, Floats, decode_sum, dequantize, encode_sum

_NONE: Final = np.zeros(0)
"""The vector of an image that has none of the model in force."""


@dataclass(frozen=True)
class Counted:
    """What a count came to. `scores`: of each decided image, the cosine to the direction of the cluster that everybody
    sees, 1 in none. `touched`: components of which decisions hold something else now; `clusters`: the same.
    """

    scores: Mapping[str, float]
    touched: frozenset[int]
    clusters: frozenset[int]


@dataclass
class _Tally:
    """The decided images of a cluster or a component while they are being counted."""

    total: Floats
    weight: int = 0
    votes: dict[str, int] = field(default_factory=dict)
    by: dict[int, int] = field(default_factory=dict)
    images: list[tuple[Waiting, Floats]] = field(default_factory=list)

    def take(self, vector: Floats, labels: Iterable[str]) -> None:
        for label in dict.fromkeys(labels):
            self.votes[label] = self.votes.get(label, 0) + 1
        if len(vector) and self.weight < MAX_WEIGHT:
            self.weight += 1
            self.total += vector


def counted(pet: Pet, rules: Rules, album: Album, policy: Policy) -> Counted:
    """Count what `rules` say of the album as `pet` has it, in place: they are the pet's from now on."""
    before, place, dimension = pet.rules, rules.lookup.place, pet.mixture.dimension
    clusters: dict[int, _Tally] = {}
    components: dict[int, _Tally] = {}
    others: dict[int, list[tuple[Waiting, bytes]]] = {}
    for image_id, first in album.order.items():
        number, image, component = place.get(image_id), album.vectors.get(image_id), album.where(image_id)
        vector = dequantize(image.vector) if image is not None and len(image.vector) == 2 * dimension else _NONE
        there, waiting = len(vector) and component in pet.groups, waiting_image(image or first, grouped=True)
        if number is None:
            if there and image is not None:
                others.setdefault(component, []).append((waiting, image.vector))
            continue
        if there:
            tally = components.setdefault(component, _Tally(np.zeros(dimension)))
            tally.take(vector, album.voted.get(image_id, []))
            tally.by[number] = tally.by.get(number, 0) + 1
        if number >= 0:
            tally = clusters.setdefault(number, _Tally(np.zeros(dimension)))
            tally.take(vector, album.labels[image_id])
            tally.images.append((waiting, vector))
    touched = set()
    for component, group in pet.groups.items():
        inside = components.get(component)
        taken = None if inside is None else _taken(pet, component, inside, others.get(component, []), policy)
        if taken != group.taken:
            group.taken = taken
            touched.add(component)
    parts = {
        number: Part(len(tally.images), tally.weight, encode_sum(tally.total), (), (), tally.votes)
        for number, tally in sorted(clusters.items())
    }
    rules = _with(rules, parts, policy)
    shown = ShownClusters(pet, rules)
    scores = dict.fromkeys((image_id for image_id, number in place.items() if number < 0), 1.0)
    # A decision alone is no reason for another hero.
    chosen = {each.image_id for group in pet.groups.values() for each in _candidates(group.heroes) if each.hero}
    for number, part in parts.items():
        beside = [_beside(pet, shown, number, *image) for image in clusters[number].images]
        scores.update((member.image_id, member.score) for member, _ in beside)
        beside = [(member, msgspec.structs.replace(each, hero=each.image_id in chosen)) for member, each in beside]
        parts[number] = _faced(part, beside, rules.lookup.pins.get(number, ()), policy)
    pet.rules = rules if rules.decisions or rules.gone else None
    return Counted(scores, frozenset(touched), frozenset(_differ(before, rules)))


def _differ(before: Rules | None, now: Rules) -> set[int]:
    """The clusters of which the two hold, call or pin something else."""
    before = before or msgspec.structs.replace(now, decisions=(), parts={}, gone=())
    found = set()
    for one, other in (
        (before.parts, now.parts),
        (before.lookup.names, now.lookup.names),
        (before.lookup.pins, now.lookup.pins),
    ):
        found |= {number for number in one.keys() | other.keys() if one.get(number) != other.get(number)}
    return found


def _with(rules: Rules, parts: dict[int, Part], policy: Policy) -> Rules:
    """The rules with other parts; what they say of images is not looked up again."""
    found = msgspec.structs.replace(rules, parts=parts, policy=policy)
    vars(found).update(lookup=rules.lookup)
    return found


def _taken(pet: Pet, component: int, tally: _Tally, others: Iterable[tuple[Waiting, bytes]], policy: Policy) -> Taken:
    group, number = pet.groups[component], pet.clusters.number(component)
    recorded = {member.image_id: member.score for member in group.members}
    members, candidates = [], []
    for image, raw in others:
        score = recorded.get(image.image_id)
        if score is None:
            score = 1.0 if number < 0 else pet.clusters.cosine(pet.mixture, number, dequantize(raw))
        # How close it is to its cluster is left unknown, here and in `arrived`.
        member, candidate = _judged(image, score, None)
        members.append(member)
        candidates.append(candidate)
    members = sorted(members, key=lambda member: -member.score)[: member_limit(policy)]
    kept = _candidates(heroes.kept(candidates))
    return Taken(tally.by, encode_sum(tally.total), tally.votes, tuple(members), kept)


def _candidates(found: Iterable[Listed]) -> tuple[Candidate, ...]:
    return tuple(each for each in found if isinstance(each, Candidate))


def _beside(pet: Pet, clusters: ShownClusters, number: int, image: Waiting, vector: Floats) -> tuple[Listed, Candidate]:
    """An image of a cluster as a member with its score, and as a candidate."""
    score, near = 0.0, None
    if len(vector):
        score = clusters.cosine(pet.mixture, number, vector)
        others = side(vector, clusters.sum(pet.mixture, number), inside=True)
        near = others.cosine * others.tightness if others.weight else None
    return _judged(image, score, near)


def _judged(image: Waiting, score: float, near: float | None) -> tuple[Listed, Candidate]:
    shown = listed(msgspec.structs.replace(image, score=score))
    return shown, heroes.candidate(shown, image.phash, image.parts if isinstance(image, Rated) else (), near)


def _faced(part: Part, beside: Sequence[tuple[Listed, Candidate]], pins: Sequence[str], policy: Policy) -> Part:
    """The part with these images, too, to stand for it; a pinned one always does."""
    fresh = {shown.image_id for shown, _ in beside}
    members = [*(each for each in part.members if each.image_id not in fresh), *(shown for shown, _ in beside)]
    members = sorted(members, key=lambda shown: -shown.score)[: member_limit(policy)]
    candidates = [*(each for each in part.heroes if each.image_id not in fresh), *(each for _, each in beside)]
    kept = _candidates(heroes.kept(candidates))
    pinned = tuple(each for each in candidates if each.image_id in pins and each not in kept)
    return msgspec.structs.replace(part, members=tuple(members), heroes=(*pinned, *kept))


def arrived(pet: Pet, row: ImageRow, policy: Policy) -> tuple[bool, set[int]]:
    """Count the images that an event has put into the mixture, in place. Says whether decisions hold some of them, as
    they do of images that come once more under another model, and in which clusters.
    """
    rules = pet.rules
    if rules is None:
        return False, set()
    place, numbers, held = rules.lookup.place, set[int](), False
    parts = dict(rules.parts)
    fresh: list[tuple[int, Waiting, Floats]] = []
    for image in (image for image in row.images if image.component != UNFOLDED):
        number, group, vector = place.get(image.image_id), pet.groups.get(image.component), dequantize(image.vector)
        waiting = waiting_image(image, grouped=True)
        if number is None:
            if group is not None and group.taken is not None:
                group.taken = _offered(group.taken, *_judged(waiting, image.score, None), policy)
            continue
        held = True
        labels = dict.fromkeys(row.labels_of(image.image_id))
        if group is not None:
            group.taken = _took(group.taken or _untaken(group, image.image_id, vector), number, vector, labels)
        if number != REMOVED and number in parts:
            parts[number] = _grown(parts[number], vector)
            fresh.append((number, waiting, vector))
            numbers.add(number)
    if held:
        rules = _with(rules, parts, rules.policy)
        clusters = ShownClusters(pet, rules)
        for number, waiting, vector in fresh:
            beside = _beside(pet, clusters, number, waiting, vector)
            parts[number] = _faced(parts[number], [beside], rules.lookup.pins.get(number, ()), policy)
        pet.rules = rules
    return held, numbers


def _offered(taken: Taken, member: Listed, candidate: Candidate, policy: Policy) -> Taken:
    members = sorted([*taken.members, member], key=lambda each: -each.score)[: member_limit(policy)]
    kept = _candidates(heroes.kept([*taken.heroes, candidate]))
    return msgspec.structs.replace(taken, members=tuple(members), heroes=kept)


def _untaken(group: Group, but: str, vector: Floats) -> Taken:
    """Of a component of which no decision holds an image yet: what it lists are the others, save the image `but`."""
    members = tuple(each for each in group.members if each.image_id != but)
    candidates = [
        heroes.candidate(Listed(each.image_id, each.score, each.quality), each.phash, each.parts[:-1], None)
        for each in _candidates(group.heroes)
        if each.image_id != but
    ]
    return Taken({}, encode_sum(np.zeros(len(vector))), {}, members, _candidates(heroes.kept(candidates)))


def _took(before: Taken, number: int, vector: Floats, labels: Iterable[str]) -> Taken:
    votes = dict(before.votes)
    for label in labels:
        votes[label] = votes.get(label, 0) + 1
    return msgspec.structs.replace(
        before,
        by={**before.by, number: before.by.get(number, 0) + 1},
        total=encode_sum(decode_sum(before.total, len(vector)) + vector),
        votes=votes,
    )


def _grown(part: Part, vector: Floats) -> Part:
    """The part with the vector of an image that it counts already."""
    if part.weight >= MAX_WEIGHT:
        return part
    total = decode_sum(part.total, len(vector)) + vector if part.weight else vector
    return msgspec.structs.replace(part, weight=part.weight + 1, total=encode_sum(total))
