"""Collects what one event changes in a pet. Used by the fold only; tables.version_message tells it to others."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from schemas.facts import Policy
from schemas.ids import UNCLUSTERED
from schemas.versions import MemberChange
from tables.engines import Merge
from tables.pet import Group, Listed, Pet, Waiting
from tables.vectors import Floats, dequantize


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
    """An image that lies in a component. `raw`: its vector, as in the log: of a whole album that is folded anew all are
    held at once. `seen`: components looked at, nearest first.
    """

    image: Waiting
    component: int
    raw: bytes
    seen: tuple[int, ...] = ()

    @property
    def vector(self) -> Floats:
        """Shape (d,), integer-valued."""
        return dequantize(self.raw)


@dataclass
class Changes:
    """What an event changed so far. `touched`: living components whose row is out of date.

    `merged`: ended cluster → the one that it ended in. `merges`: the same of components. The rest is for engines that
    regroup. `moves`: (component, cluster that it left, cluster that it came to). `placed`: images to be scored once the
    clusters stand. `likely`: components worth an exact look for an image, of those before `first_opened`. `near`: those
    that images of the event may be grouped with. `clusters`: those that gained or lost components. `begun`: new cluster
    → the one that most of its images lay in, or UNCLUSTERED. `component_of`: of each image that was placed or moved.
    `memberships`: how sure that is (tables.membership). `duplicates`: image → the one whose near-duplicate it is.
    `decided_by`: image → the decision that holds it, of a pet of which users have decided something.
    """

    members: dict[str, MemberChange] = field(default_factory=dict)
    touched: set[int] = field(default_factory=set)
    merged: dict[int, int] = field(default_factory=dict)
    merges: list[tuple[int, int]] = field(default_factory=list)
    moves: list[tuple[int, int, int]] = field(default_factory=list)
    placed: list[Placed] = field(default_factory=list)
    near: set[int] = field(default_factory=set)
    likely: dict[str, list[int]] = field(default_factory=dict)
    first_opened: int = 0
    clusters: set[int] = field(default_factory=set)
    begun: dict[int, int] = field(default_factory=dict)
    component_of: dict[str, int] = field(default_factory=dict)
    memberships: dict[str, float] = field(default_factory=dict)
    duplicates: dict[str, str] = field(default_factory=dict)
    decided_by: dict[str, str] | None = None
    reclustered: bool = False

    def __bool__(self) -> bool:
        return bool(self.members) or self.reclustered or bool(self.moves)


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
        changes.merged[gone] = kept
        pet.end(gone, kept)
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


def listed(image: Waiting) -> Listed:
    """The line that a group keeps of a member."""
    return Listed(image.image_id, image.score, image.quality)
