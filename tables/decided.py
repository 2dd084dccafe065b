"""Tells what an event changed of a pet with decisions as everybody sees it. Pure; used by the fold.

The mixture's own changes name its clusters. What is shown before and after the event is compared component by
component, so that whatever the mixture did, a version says how the shown clusters became what they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import msgspec

from schemas.ids import UNCLUSTERED
from schemas.versions import MemberChange
from tables.changes import Changes, change_of
from tables.duplicates import recognise
from tables.pet import Pet
from tables.recluster import Album, waiting_image
from tables.rules import REMOVED
from tables.shown import ShownClusters, View

RULE = "decided"
REMOVED_RULE = "removed"


@dataclass(frozen=True)
class Before:
    """What was shown before an event: the cluster of each component, and all clusters."""

    numbers: Mapping[int, int]
    standing: frozenset[int]


def before(pet: Pet, view: View) -> Before:
    """What is shown of `pet` now."""
    numbers = {component: view.clusters.number(component) for component in pet.mixture.ids}
    return Before(numbers, frozenset(view.clusters.numbers()))


def moved(
    pet: Pet,
    album: Album,
    image_ids: Iterable[str],
    was: Mapping[str, int],
    clusters: ShownClusters,
    scores: Mapping[str, float],
) -> tuple[Changes, Counter[tuple[int, int]]]:
    """These images as they lie now, and how many came from where to where.

    `was`: where they lay. `scores`: of those that a decision holds.
    """
    changes, went = Changes(decided_by={}), Counter[tuple[int, int]]()
    assert changes.decided_by is not None
    for image_id in image_ids:
        first = album.order[image_id]
        image, component = album.vectors.get(image_id) or first, album.where(image_id)
        held = clusters.lookup.by.get(image_id)
        number = clusters.place(image_id, component)
        if number == was[image_id] == REMOVED:
            continue
        went[was[image_id], number] += 1
        waiting = waiting_image(image, grouped=True)
        if number == REMOVED:
            changes.members[image_id] = change_of(waiting, UNCLUSTERED, REMOVED_RULE)
            continue
        waiting = msgspec.structs.replace(waiting, score=scores.get(image_id, waiting.score))
        changes.members[image_id] = change_of(waiting, number, RULE)
        changes.decided_by[image_id] = held or ""
        if held is None:
            changes.component_of[image_id] = component
        group = pet.groups.get(component)
        alike = recognise(group.looks, image_id, image.phash)[1] if group else ""
        if alike:
            changes.duplicates[image_id] = alike
    return changes, went


def told(
    pet: Pet,
    earlier: Before,
    clusters: ShownClusters,
    changes: Changes,
    went: Counter[tuple[int, int]],
    scores: Mapping[str, float],
) -> Changes:
    """The changes as everybody sees them. `went`: how many decided images came from where to where."""
    shown = changes if changes.decided_by is not None else _members(clusters, changes, scores)
    moves, ways = _moves(pet, earlier, clusters, changes), went.copy()
    for component, source, target in moves:
        ways[source, target] += clusters.others(component) if component in pet.groups else 1
    touched = {component for component in changes.touched if component in pet.groups}
    numbers = {clusters.number(component) for component in touched} | {number for way in ways for number in way}
    numbers |= {earlier.numbers.get(component, UNCLUSTERED) for component in touched}
    numbers |= {clusters.link(number) for number in changes.clusters}
    numbers |= {change.cluster for change in shown.members.values()}
    now = clusters.numbers()
    if changes.reclustered:
        numbers |= now
    return replace(
        shown,
        merged={gone: _heir(gone, clusters, changes, ways) for gone in sorted(earlier.standing - now)},
        moves=moves,
        clusters=set(numbers),
        begun={new: _origin(new, clusters, changes, ways) for new in sorted(now - earlier.standing)},
    )


def _moves(pet: Pet, earlier: Before, clusters: ShownClusters, changes: Changes) -> list[tuple[int, int, int]]:
    """Components whose images are shown elsewhere now; of an album folded anew each image is named instead."""
    moves = []
    for component, number in earlier.numbers.items() if not changes.reclustered else ():
        target = clusters.number(component)  # in none, if it made room for another
        if number != target and (component not in pet.groups or clusters.others(component)):
            moves.append((component, number, target))
    return moves


def _members(clusters: ShownClusters, changes: Changes, scores: Mapping[str, float]) -> Changes:
    """What the mixture tells of single images, where no decision holds them elsewhere."""
    fresh = {placed.image.image_id for placed in changes.placed}
    members: dict[str, MemberChange] = {}
    decided_by: dict[str, str] = {}
    for image_id, change in changes.members.items():
        held = clusters.lookup.by.get(image_id)
        number = clusters.place(image_id, changes.component_of.get(image_id, UNCLUSTERED))
        if number == REMOVED or (held is not None and not changes.reclustered and image_id not in fresh):
            continue
        second = clusters.link(change.runner_up)
        if second in (UNCLUSTERED, number):
            second = UNCLUSTERED
        members[image_id] = msgspec.structs.replace(
            change, cluster=number, runner_up=second, runner_up_score=0.0 if second < 0 else change.runner_up_score
        )
        if held is not None:
            score = scores.get(image_id, change.score)
            members[image_id] = msgspec.structs.replace(members[image_id], rule=RULE, score=score)
            decided_by[image_id] = held
    component_of = {image_id: at for image_id, at in changes.component_of.items() if image_id not in decided_by}
    memberships = {image_id: sure for image_id, sure in changes.memberships.items() if image_id not in decided_by}
    return replace(changes, members=members, component_of=component_of, memberships=memberships, decided_by=decided_by)


def _heir(gone: int, clusters: ShownClusters, changes: Changes, ways: Counter[tuple[int, int]]) -> int:
    """The cluster that an ended one became by a decision, or where most of its images went, or none."""
    merged = clusters.lookup.standing(gone)
    if merged != gone and merged in clusters:
        return merged
    there = _most((target, count) for (source, target), count in ways.items() if source == gone)
    if there in clusters:
        return there
    ended = gone
    while ended in changes.merged:
        ended = changes.merged[ended]
    return clusters.link(ended) if ended != gone else UNCLUSTERED


def _origin(new: int, clusters: ShownClusters, changes: Changes, ways: Counter[tuple[int, int]]) -> int:
    """The cluster that most images of a new one lay in, or none."""
    there = _most((source, count) for (source, target), count in ways.items() if target == new)
    if there != UNCLUSTERED:
        return there
    return clusters.link(changes.begun.get(new, UNCLUSTERED))


def _most(counts: Iterable[tuple[int, int]]) -> int:
    """The cluster with the highest count, the lowest of equal ones; UNCLUSTERED only where there is no other."""
    found = Counter[int]()
    for number, count in counts:
        if number >= 0:
            found[number] += count
    return min(found, key=lambda number: (-found[number], number)) if found else UNCLUSTERED
