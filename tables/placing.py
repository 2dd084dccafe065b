"""Puts images into a pet's mixture and its components into clusters, by the engine that the policy names. Pure; used by
the fold for what arrives, and by tables.recluster for whole albums.

    shortlist (before an event's images) → place (each image) → group_touched (behind them): clusters, scores, heroes
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import msgspec
import numpy as np

from schemas.facts import EmbeddedImage, Policy
from schemas.ids import UNCLUSTERED
from tables.changes import Changes, Placed, absorb, change_of, listed, member_limit, promote, rescore_founder
from tables.duplicates import recognise
from tables.engines import LOOSE, engine_of
from tables.grouping import has_grown, score, settle
from tables.mixture import Mixture
from tables.pet import Group, Pet, Rated, Waiting
from tables.vectors import dequantize


def shortlist(pet: Pet, changes: Changes, images: Sequence[EmbeddedImage], policy: Policy) -> None:
    """Before an event's images, for engines that need not look at every component."""
    engine = engine_of(policy)
    if not engine.candidates or not images:
        return
    vectors = np.stack([dequantize(image.vector) for image in images])
    lists = pet.mixture.shortlists(vectors, engine.candidates)
    if lists is not None:
        changes.first_opened = pet.next_component
        changes.likely = {image.image_id: likely for image, likely in zip(images, lists, strict=True)}


def place(
    pet: Pet, changes: Changes, image: Waiting, vector: bytes, votes: dict[str, int], policy: Policy
) -> tuple[Waiting, int]:
    """Put one image into the mixture and its group; returns it with its score, and its component (or LOOSE)."""
    values = dequantize(vector)
    if not len(pet.mixture) and pet.mixture.dimension != len(values):
        pet.mixture = Mixture(len(values))
    engine = engine_of(policy)
    likely = changes.likely.get(image.image_id)
    if likely is not None:  # what the event itself has opened was not there to be chosen
        opened = pet.mixture.ids[bisect_left(pet.mixture.ids, changes.first_opened) :]
        likely = [*(component for component in likely if component in pet.groups), *opened]
    done = engine.place(pet.mixture, pet.clusters, values, pet.next_component, policy, likely)
    runner_up = UNCLUSTERED if done.runner_up is None else pet.clusters.number(done.runner_up)
    if done.evicted is not None:
        pet.drop(done.evicted)
        changes.touched.discard(done.evicted)
        changes.near.discard(done.evicted)
    image = msgspec.structs.replace(image, score=done.score)
    pet.unclustered_count += 1
    if done.joined == LOOSE:
        changes.members[image.image_id] = change_of(image, UNCLUSTERED, "opened", runner_up, done.runner_up_score)
        return image, LOOSE
    if done.opened:
        pet.next_component += 1
        pet.groups[done.joined] = Group()
    if done.founder_score is not None:
        rescore_founder(pet.groups[done.joined], done.founder_score)
    for merge in done.merges:
        absorb(pet, changes, merge, policy)
    pet.clusters.grew(done.component, values)
    group = pet.groups[done.component]
    if engine.regroup is not None:
        group.looks, duplicate_of = recognise(group.looks, image.image_id, image.phash)
        if duplicate_of and isinstance(image, Rated):
            image = msgspec.structs.replace(image, duplicate_of=duplicate_of)
            changes.duplicates[image.image_id] = duplicate_of
    group.waiting.append(image)
    group.vote(votes)
    changes.touched.add(done.component)
    changes.members[image.image_id] = change_of(
        image, UNCLUSTERED, "opened" if done.opened else "joined", runner_up, done.runner_up_score
    )
    if engine.regroup is None:
        group.list_members([listed(image)], member_limit(policy))
        group.offer_heroes([listed(image)])
        _number(pet, changes, done.component, policy)
    else:
        pet.unclustered_count -= group.number != UNCLUSTERED
        changes.placed.append(Placed(image, done.component, vector, done.seen))
        changes.near.update(done.near)
    return image, done.component


def group_touched(pet: Pet, changes: Changes, before: int, policy: Policy) -> None:
    """Behind an event's images, for engines that regroup: group anew what they touched, and score them."""
    engine = engine_of(policy)
    if engine.regroup is None or not changes.placed:
        return
    if has_grown(before, pet.image_count):
        group_all(pet, changes, policy)
        return
    settle(pet, changes, engine.regroup(pet.mixture, pet.clusters, changes.touched, changes.near, policy), policy)
    score(pet, changes, policy)


def group_all(pet: Pet, changes: Changes, policy: Policy) -> None:
    """As `group_touched`, of all components: of an album that has grown, or that is folded anew."""
    engine = engine_of(policy)
    if engine.regroup_all is not None and changes.placed:
        settle(pet, changes, engine.regroup_all(pet.mixture, policy), policy)
        score(pet, changes, policy)


def _number(pet: Pet, changes: Changes, component: int, policy: Policy) -> None:
    """Make a component a cluster once it is large enough, and move who waited into it."""
    group = pet.groups[component]
    if group.number == UNCLUSTERED:
        if pet.mixture.count(component) < policy.min_cluster_size:
            return
        pet.assign(component, pet.next_cluster)
        pet.next_cluster += 1
    promote(pet, changes, group)
