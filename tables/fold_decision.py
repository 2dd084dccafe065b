"""Folds users' decisions. Pure; used by the fold.

An accepted decision makes a version, a refused one none; both are told on `media.pet-versions`. The album is read back
from its rows for it, which costs O(images); photos that arrive later pay nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from schemas.decisions import DecisionSettled
from schemas.facts import DecisionSubmitted, ImagesRemoved, JobContext, Policy
from tables.changes import Changes, Position
from tables.decide import Refused, Situation, Verdict, decide
from tables.decided import moved
from tables.outputs import settled_output
from tables.parts import counted
from tables.pet import Pet
from tables.recluster import Album
from tables.rows import ImageRow
from tables.rules import REMOVED, Decision, Rules
from tables.shown import ShownClusters
from tables.step import Step, first_telling, make_version


def fold_decision(pet: Pet, fact: DecisionSubmitted, at: Position, history: Callable[[], Iterable[ImageRow]]) -> Step:
    """Accept or refuse the decision, in place; one that was settled before changes nothing."""
    result = Step(model=max(pet.model, 0))
    pet.last_offset = at.offset
    key = settled_key(fact.decision_id)
    if key in pet.ended:
        return result
    pet.ended.add(key)
    result.ended.append(key)
    album = Album(pet.model).read(history())
    situation = _situation(pet, album, at.policy)
    try:
        if pet.image_count and not pet.grouped:
            raise Refused("conflict", f"the album is folded by engine {at.policy.engine}, which obeys no decisions")
        verdict = decide(situation, fact, pet.version + 1)
    except Refused as refused:
        settled = _settled(pet, fact, at, accepted=False)
        settled = msgspec.structs.replace(settled, code=refused.code, reason=str(refused))
        result.outputs.append(settled_output(settled))
        return result
    changes = _apply(pet, situation, verdict, at, result, JobContext(job_id=fact.decision_id, reason=fact.why))
    decision, undone = verdict.decision, verdict.undone
    settled = _settled(pet, fact, at, accepted=True)
    settled = msgspec.structs.replace(
        settled,
        cluster=decision.cluster,
        images=sum(situation.place[image_id] != _now(changes, image_id) for image_id in changes.members),
        undoes=decision.decision_id if undone else "",
    )
    result.outputs.append(settled_output(settled))
    return result


def refuse_decision(pet: Pet, fact: DecisionSubmitted, at: Position, reason: str) -> Step:
    """A decision whose version could not be kept is refused, too, and changes nothing."""
    key = settled_key(fact.decision_id)
    pet.last_offset = at.offset
    pet.ended.add(key)
    settled = _settled(pet, fact, at, accepted=False)
    settled = msgspec.structs.replace(settled, code="too_many", reason=reason)
    return Step(model=max(pet.model, 0), outputs=[settled_output(settled)], ended=[key])


def fold_removal(pet: Pet, fact: ImagesRemoved, at: Position, history: Callable[[], Iterable[ImageRow]]) -> Step:
    """Take images out of the album that are gone where they came from; those that it lacks are passed over.

    It holds like a decision of kind ``remove_images``, and nobody is asked.
    """
    result = Step(model=max(pet.model, 0))
    pet.last_offset = at.offset
    key = settled_key(fact.request_id)
    situation = _situation(pet, Album(pet.model).read(history()), at.policy)
    there = tuple(
        image_id for image_id in dict.fromkeys(fact.image_ids) if situation.place.get(image_id, REMOVED) != REMOVED
    )
    if key in pet.ended or not there or not pet.grouped:
        return result
    pet.ended.add(key)
    result.ended.append(key)
    decision = Decision(fact.request_id, "remove_images", pet.version + 1, places=((REMOVED, there),), named=there)
    verdict = Verdict((*situation.decisions, decision), decision)
    _apply(pet, situation, verdict, at, result, JobContext(job_id=fact.request_id, reason=fact.reason))
    return result


def settled_key(decision_id: str) -> str:
    """What stands for a settled decision among the ids that are done with; ids hold no ``#``."""
    return f"decision#{decision_id}"


def _situation(pet: Pet, album: Album, policy: Policy) -> Situation:
    rules = pet.rules or Rules(policy, ())
    clusters = ShownClusters(pet, rules)
    place = {image_id: clusters.place(image_id, album.where(image_id)) for image_id in album.order}
    return Situation(pet, album, clusters, rules.decisions, place)


def _apply(pet: Pet, situation: Situation, verdict: Verdict, at: Position, result: Step, job: JobContext) -> Changes:
    """Let the verdict hold, and tell of it. Returns the images that it names as they lie now."""
    telling = first_telling(pet)
    pet.rules, telling.scores = counted(pet, verdict.decisions, situation.album, at.policy)
    if verdict.decision.begun and not verdict.undone:
        pet.next_cluster += 1
    clusters = ShownClusters(pet, pet.rules or Rules(at.policy, ()))
    changes, telling.went = moved(pet, situation.album, verdict.decision, situation.place, clusters, telling.scores)
    result.decided = True
    make_version(pet, changes, job, at, result, telling)
    return changes


def _now(changes: Changes, image_id: str) -> int:
    change = changes.members[image_id]
    return REMOVED if change.rule == "removed" else change.cluster


def _settled(pet: Pet, fact: DecisionSubmitted, at: Position, *, accepted: bool) -> DecisionSettled:
    return DecisionSettled(
        pet_id=pet.pet_id,
        decision_id=fact.decision_id,
        kind=fact.kind,
        arguments=fact.arguments,
        expected_version=fact.expected_version,
        who=fact.who,
        why=fact.why,
        time=at.time,
        partition=at.partition,
        offset=at.offset,
        accepted=accepted,
        version=pet.version,
    )


def kept_through(pet: Pet, rules: Rules, album: Album, was: dict[str, int], policy: Policy) -> dict[str, float]:
    """Let `rules` hold in the album that was folded anew, in place. Returns the score of each decided image.

    `album`: where the images lie now. `was`: where they were shown before. The components are others now: a cluster's
    decided images are followed by the components that are mostly of what was shown in it.
    """
    lookup = rules.lookup
    inside: dict[tuple[int, int], int] = {}
    for image_id, number in was.items():
        key = album.where(image_id), number
        inside[key] = inside.get(key, 0) + 1
    decisions = []
    for decision in rules.decisions:
        homes = []
        for number, image_ids in decision.places:
            shown = lookup.standing(number)
            for component in sorted({album.where(image_id) for image_id in image_ids} & pet.groups.keys()):
                if number >= 0 and 2 * inside.get((component, shown), 0) > pet.mixture.count(component):
                    homes.append((component, number))
        decisions.append(msgspec.structs.replace(decision, homes=tuple(homes)))
    pet.rules, scores = counted(pet, decisions, album, policy)
    return scores
