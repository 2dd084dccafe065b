"""Collects what one event changes in a pet, and turns it into the version message. Used by the fold only."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from schemas.facts import JobContext, Policy
from schemas.ids import UNCLUSTERED
from schemas.versions import ClusterChange, Hero, MemberChange, PetVersion
from tables.engines import Merge
from tables.faces import Face, face_of
from tables.pet import HEROES_SHOWN, Group, Listed, Pet, Waiting
from tables.vectors import Floats


@dataclass(frozen=True)
class Position:
    """Where an event stands: log partition and offset, its time (RFC 3339), and what is in force there.

    `key_id`: of the key that seals the event, empty for none.
    """

    partition: int
    offset: int
    time: str
    policy: Policy
    key_id: str = ""


@dataclass(frozen=True)
class Placed:
    """An image that lies in a component, with its vector, shape (d,)."""

    image: Waiting
    component: int
    vector: Floats


@dataclass
class Changes:
    """What an event changed so far. `touched`: living components whose row is out of date.

    `merged`: ended cluster → the one that it ended in. `merges`: the same of components. `moves`: (component, cluster
    that it left, cluster that it came to). `placed`: images to be scored once the clusters stand, for engines that
    regroup; `near`: components that these may be grouped with.
    """

    members: dict[str, MemberChange] = field(default_factory=dict)
    touched: set[int] = field(default_factory=set)
    merged: dict[int, int] = field(default_factory=dict)
    merges: list[tuple[int, int]] = field(default_factory=list)
    moves: list[tuple[int, int, int]] = field(default_factory=list)
    placed: list[Placed] = field(default_factory=list)
    near: set[int] = field(default_factory=set)
    reclustered: bool = False

    def __bool__(self) -> bool:
        return bool(self.members) or self.reclustered


def absorb(pet: Pet, changes: Changes, merge: Merge, policy: Policy) -> None:
    """Let the target's group take the source's, as the mixture has done with their vectors."""
    source, target = pet.drop(merge.source), pet.groups[merge.target]
    changes.touched.discard(merge.source)
    changes.touched.add(merge.target)
    changes.merges.append((merge.source, merge.target))
    rescore_founder(source, merge.source_score)
    if merge.target_score is not None:
        rescore_founder(target, merge.target_score)
    numbers = sorted(n for n in (source.number, target.number) if n != UNCLUSTERED)
    if len(numbers) == 2:
        kept, gone = numbers
        pet.aliases[gone] = changes.merged[gone] = kept
    pet.assign(merge.target, numbers[0] if numbers else UNCLUSTERED)
    target.waiting += source.waiting
    target.list_members(source.members, member_limit(policy))
    target.offer_heroes(source.heroes)
    target.vote(source.votes)
    if numbers:
        promote(pet, changes, target)


def promote(pet: Pet, changes: Changes, group: Group) -> None:
    """Move the waiting members of a numbered group into its cluster."""
    for waiting in group.waiting:
        change = changes.members.get(waiting.image_id) or change_of(waiting, group.number, "joined")
        changes.members[waiting.image_id] = msgspec.structs.replace(change, cluster=group.number, score=waiting.score)
        pet.unclustered_count -= 1
    group.waiting = []


def rescore_founder(group: Group, score: float) -> None:
    """Give the only member of a group the score that it has now that others lie with it."""
    if len(group.waiting) != 1 or len(group.members) != 1:
        return
    group.waiting = [msgspec.structs.replace(group.waiting[0], score=score)]
    group.members = [msgspec.structs.replace(group.members[0], score=score)]
    group.heroes = list(group.members)


def change_of(
    image: Waiting, cluster: int, rule: str, runner_up: int = -1, runner_up_score: float = 0.0
) -> MemberChange:
    """The version message's line about an image."""
    return MemberChange(
        image.image_id,
        cluster,
        image.score,
        rule,
        image.quality,
        image.phash,
        image.width,
        image.height,
        image.taken_at,
        runner_up,
        runner_up_score,
    )


def member_limit(policy: Policy) -> int:
    """How many members a group lists: what answers show, and all of a component that is no cluster yet."""
    return max(policy.max_cluster_size, policy.min_cluster_size)


def build_version(pet: Pet, changes: Changes, job: JobContext, at: Position) -> PetVersion:
    """The message on `media.pet-versions` for the version that `pet` has just reached."""
    members = tuple(
        msgspec.structs.replace(m, cluster=_successor(changes, m.cluster)) for m in changes.members.values()
    )
    numbers = {pet.clusters.number(component) for component in changes.touched} - {UNCLUSTERED}
    standing = [_cluster_change(face_of(pet, number)) for number in numbers]
    ended = [ClusterChange(gone, "", 0, 0.0, (), _successor(changes, gone)) for gone in changes.merged]
    return PetVersion(
        pet_id=pet.pet_id,
        version=pet.version,
        time=at.time,
        partition=at.partition,
        offset=at.offset,
        job_id=job.job_id,
        model=pet.models[pet.model],
        policy_id=at.policy.policy_id,
        max_cluster_size=at.policy.max_cluster_size,
        members=members,
        clusters=tuple(sorted([*standing, *ended], key=lambda c: c.number)),
        cluster_count=len(pet.clusters),
        image_count=pet.image_count,
        unclustered_count=pet.unclustered_count,
        coverage=pet.coverage,
        quality_score=pet.quality_score,
    )


def _successor(changes: Changes, number: int) -> int:
    while number in changes.merged:
        number = changes.merged[number]
    return number


def _cluster_change(face: Face) -> ClusterChange:
    heroes = tuple(Hero(h.image_id, h.quality) for h in face.heroes[:HEROES_SHOWN])
    return ClusterChange(face.number, face.label, face.member_count, face.tightness, heroes)


def listed(image: Waiting) -> Listed:
    """The line that a group keeps of a member."""
    return Listed(image.image_id, image.score, image.quality)
