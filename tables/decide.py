"""Accepts or refuses users' decisions. Pure; used by the fold, so that every replay comes to the same word.

decision ──▶ what it names is there ──▶ where its images lie (tables.decision_kinds) ──▶ nobody has decided about the
same since ──▶ no contradiction to another that holds
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from schemas.decisions import Undo, parse_arguments
from schemas.facts import DecisionSubmitted
from tables.contradictions import contradiction, dependent
from tables.decision_kinds import KINDS, Placed, Refused, Situation
from tables.rules import CLUSTER_KINDS, Decision, images_held

MAX_DECISIONS: Final = 512
"""Decisions of one pet that hold."""
MAX_HELD: Final = 600_000
"""Characters of the image ids that they place: a recluster's row holds them beside all components and its version."""


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
    placed = KINDS[type(arguments)](situation, arguments)
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


def _check_since(situation: Situation, fact: DecisionSubmitted, placed: Placed) -> None:
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


def _with_homes(situation: Situation, placed: Placed, fact: DecisionSubmitted, version: int) -> Decision:
    decision = Decision(
        fact.decision_id, fact.kind, version, placed.cluster, placed.places, _homes_of(situation, placed), placed.name,
        placed.ended, begun=placed.begun,
    )  # fmt: skip
    return _with_sources(situation, decision, situation.clusters.lookup.place)


def _homes_of(situation: Situation, placed: Placed) -> tuple[tuple[int, int], ...]:
    """The components whose images lie mostly among those that are placed in a cluster, and the cluster."""
    homes, mixture = [], situation.pet.mixture
    for number, image_ids in placed.places:
        if number >= 0:
            inside = Counter(map(situation.album.where, image_ids))
            homes += [
                (component, number)
                for component in sorted(inside.keys() & set(mixture.ids))
                if 2 * inside[component] > mixture.count(component)
            ]
    return tuple(homes)


def _with_sources(situation: Situation, decision: Decision, place: Mapping[str, int]) -> Decision:
    """The decision with the clusters that its images lay in: by `place`, decided before, else the mixture's."""
    found = set()
    for image_id, number in decision.images():
        at = place.get(image_id, situation.pet.clusters.number(situation.album.where(image_id)))
        if at >= 0 and at != number:
            found.add(at)
    return msgspec.structs.replace(decision, sources=tuple(sorted(found)))


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
        if not images.isdisjoint(image_id for image_id, _ in decision.images()):
            decision = _with_sources(situation, decision, place)
        place.update(decision.images())
        found.append(decision)
    return tuple(found)
