"""Gives the groups of components that an engine has found their cluster numbers. Pure; used by the fold.

    groups of components ── numbers go on with their images ──▶ clusters merge, split, come and go

A number stays with the group that has most of its images. A group that several numbers stay with keeps the lowest, and
the others become its aliases; one that none stays with, but that is large enough, is a new cluster.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Final

import msgspec

from schemas.facts import Policy
from schemas.ids import UNCLUSTERED
from tables import candidates
from tables.changes import Changes, Placed, change_of, listed, member_limit
from tables.membership import membership, own_side, side
from tables.pet import Group, Pet, Rated, Waiting
from tables.vectors import Floats

FIRST_GROWTH: Final = 16
RIVALS: Final = 3
"""Other clusters that an image is compared with."""


def has_grown(before: int, now: int) -> bool:
    """Whether an album of `before` images that has `now` has passed one of the sizes at which all is grouped anew.

    They rise by half each time, so that an image pays for the grouping of at most three others however large the album.
    """
    size = FIRST_GROWTH
    while size <= before:
        size += size // 2
    return size <= now


def settle(pet: Pet, changes: Changes, groups: Sequence[Sequence[int]], policy: Policy) -> None:
    """Number `groups`, in place, and note in `changes` which images and components lie elsewhere now."""
    before = {component: pet.clusters.number(component) for group in groups for component in group}
    shared = [_images(pet, group, before) for group in groups]
    numbers = _numbers(pet, changes, shared, policy)
    for group, number in zip(groups, numbers, strict=True):
        for component in group:
            if before[component] != number:
                _move(pet, changes, component, before[component], number)
    _end(pet, changes, shared, numbers)
    for group in groups:
        for component in group:
            _wait(pet, changes, pet.groups[component], component, policy)


def _images(pet: Pet, group: Sequence[int], before: dict[int, int]) -> dict[int, int]:
    """How many images of the group lay in which cluster until now."""
    images: dict[int, int] = {}
    for component in group:
        number = before[component]
        images[number] = images.get(number, 0) + pet.mixture.count(component)
    return images


def _numbers(pet: Pet, changes: Changes, shared: Sequence[dict[int, int]], policy: Policy) -> list[int]:
    """The number of each group; see the module."""
    held: dict[int, list[tuple[int, int]]] = {}  # number → (−images, group) of those that have some of its images
    for row, images in enumerate(shared):
        for number, count in images.items():
            if number != UNCLUSTERED:
                held.setdefault(number, []).append((-count, row))
    stays: dict[int, list[int]] = {}
    for number in sorted(held):
        stays.setdefault(min(held[number])[1], []).append(number)
    numbers = []
    for row, images in enumerate(shared):
        if sum(images.values()) < policy.min_cluster_size:
            numbers.append(UNCLUSTERED)
        elif row in stays:
            numbers.append(stays[row][0])
        else:
            numbers.append(pet.next_cluster)
            changes.begun[pet.next_cluster] = _most(images)
            pet.next_cluster += 1
    return numbers


def _most(images: dict[int, int]) -> int:
    """The cluster with the most images, the lowest of equal ones."""
    return min(images, key=lambda number: (-images[number], number))


def _move(pet: Pet, changes: Changes, component: int, before: int, number: int) -> None:
    group, count = pet.groups[component], pet.mixture.count(component)
    changes.touched.add(component)
    changes.clusters.update((before, number))
    pet.assign(component, number)
    if UNCLUSTERED in (before, number):
        pet.unclustered_count += count if number == UNCLUSTERED else -count
    # Who waits is told one by one. Of others, as where the policy has become stricter, only the component is known.
    if UNCLUSTERED not in (before, number) or len(group.waiting) != count:
        changes.moves.append((component, before, number))
        return
    rule = "left" if number == UNCLUSTERED else "joined"
    for image in group.waiting:
        change = changes.members.get(image.image_id) or change_of(image, number, rule)
        changes.members[image.image_id] = msgspec.structs.replace(change, cluster=number)
        changes.component_of[image.image_id] = component
        if isinstance(image, Rated) and image.duplicate_of:
            changes.duplicates[image.image_id] = image.duplicate_of


def _end(pet: Pet, changes: Changes, shared: Sequence[dict[int, int]], numbers: Sequence[int]) -> None:
    """Numbers that no group has any more end in the one that most of their images went to."""
    went: dict[int, dict[int, int]] = {}  # number → how many of its images went where
    for images, number in zip(shared, numbers, strict=True):
        for before, count in images.items():
            there = went.setdefault(before, {})
            there[number] = there.get(number, 0) + count
    for ended in sorted(went.keys() - set(numbers) - {UNCLUSTERED}):
        heir = _most(went[ended])
        changes.merged[ended] = heir
        if heir != UNCLUSTERED:
            pet.end(ended, heir)


def _wait(pet: Pet, changes: Changes, group: Group, component: int, policy: Policy) -> None:
    """Only what may become too small for a cluster keeps what its images' rows would need."""
    enough = group.number != UNCLUSTERED and pet.mixture.count(component) >= policy.min_cluster_size
    if enough and group.waiting:
        group.waiting = []
        changes.touched.add(component)


def score(pet: Pet, changes: Changes, policy: Policy) -> None:
    """Score the images of the event, and those whose component has found a cluster, by the clusters as they stand.

    The score is the cosine to the cluster's direction, the image included; 1 alone.
    """
    fresh = {placed.image.image_id for placed in changes.placed}
    for component in sorted(changes.touched):
        group = pet.groups[component]
        if group.number == UNCLUSTERED or pet.mixture.count(component) != 1 or not group.waiting:
            continue
        image = group.waiting[0]
        if image.image_id in fresh:
            continue
        group.members = []
        _list(pet, changes, component, image, pet.mixture.total(component), policy)
    _score_founders(pet, changes, fresh)
    for placed in changes.placed:
        if placed.component not in pet.groups:  # it made room for another of this event
            continue
        vector = placed.vector
        _list(pet, changes, placed.component, placed.image, vector, policy)
        _compare(pet, changes, placed, vector)
    candidates.elect(pet, changes)


def _score_founders(pet: Pet, changes: Changes, fresh: Set[str]) -> None:
    """Who was alone in a component, with a score of 1, that the event's images joined has the score of its cluster now.

    Its vector is what the component's sum holds beside theirs.
    """
    arrivals: dict[int, list[Placed]] = {}
    for placed in changes.placed:
        arrivals.setdefault(placed.component, []).append(placed)
    for component, arrived in arrivals.items():
        number = pet.clusters.number(component)
        if number == UNCLUSTERED or pet.mixture.weight(component) != len(arrived) + 1:
            continue
        group, vector = pet.groups[component], pet.mixture.total(component)
        for placed in arrived:
            vector = vector - placed.vector
        value = pet.clusters.cosine(pet.mixture, number, vector)
        candidates.accompany(pet, component, vector, fresh)
        for member in [each for each in group.members if each.image_id not in fresh]:
            change = changes.members.get(member.image_id)
            if change is None:  # in a cluster before: what is recorded of it stays
                continue
            rest = [each for each in group.members if each is not member]
            group.members = [msgspec.structs.replace(member, score=value), *rest]
            changes.members[member.image_id] = msgspec.structs.replace(change, score=value)


def _compare(pet: Pet, changes: Changes, placed: Placed, vector: Floats) -> None:
    """Note the second-best cluster of an image, and how sure its own is."""
    clusters, mixture, image_id = pet.clusters, pet.mixture, placed.image.image_id
    number = clusters.number(placed.component)
    others = list(dict.fromkeys(map(clusters.number, placed.seen)))
    others = [other for other in others if other not in (number, UNCLUSTERED)][:RIVALS]
    sides = {other: side(vector, clusters.sum(mixture, other), inside=False) for other in others}
    change = changes.members[image_id]
    second = min(sides, key=lambda other: (-sides[other].cosine, other)) if sides else UNCLUSTERED
    second_score = sides[second].cosine if sides else 0.0
    changes.members[image_id] = msgspec.structs.replace(change, runner_up=second, runner_up_score=second_score)
    if number != UNCLUSTERED:
        own = own_side(mixture, clusters, placed.component, vector)
        changes.memberships[image_id] = membership(own, sides.values())


def _list(pet: Pet, changes: Changes, component: int, image: Waiting, vector: Floats, policy: Policy) -> None:
    group = pet.groups[component]
    number = group.number
    value = 1.0 if number == UNCLUSTERED else pet.clusters.cosine(pet.mixture, number, vector)
    scored = msgspec.structs.replace(image, score=value)
    group.waiting = [scored if waiting.image_id == image.image_id else waiting for waiting in group.waiting]
    group.list_members([listed(scored)], member_limit(policy))
    candidates.offer(pet, component, scored, vector)
    change = changes.members.get(image.image_id) or change_of(scored, number, "joined")
    changes.members[image.image_id] = msgspec.structs.replace(change, cluster=number, score=value)
    changes.component_of[image.image_id] = component
