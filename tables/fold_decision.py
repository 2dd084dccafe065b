"""Folds users' decisions. Pure; used by the fold.

An accepted decision makes a version, a refused one none; both are told on `media.pet-versions`. The album is read back
from its rows for it, which costs O(images); photos that arrive later pay nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import msgspec

from schemas.decisions import DecisionSettled
from schemas.errors import DeadLetter
from schemas.facts import DecisionSubmitted, ImagesRemoved, JobContext, Policy
from tables.changes import Position
from tables.decide import decide
from tables.decided import moved
from tables.decision_kinds import Refused, Situation
from tables.engines import engine_of
from tables.outputs import settled_output
from tables.parts import counted
from tables.pet import UNDONE_KEPT, Pet, Undone
from tables.recluster import Album
from tables.rows import ImageRow
from tables.rules import Rules
from tables.shown import ShownClusters
from tables.step import Step, first_telling, make_version


def fold_decision(pet: Pet, fact: DecisionSubmitted, at: Position, history: Callable[[], Iterable[ImageRow]]) -> Step:
    """Accept or refuse the decision, in place; one that was settled before changes nothing."""
    result = Step(model=max(pet.model, 0))
    pet.last_offset = at.offset
    if not _is_first(pet, result, f"decision#{fact.decision_id}"):
        return result
    situation = _situation(pet, Album(pet.model).read(history()), at.policy)
    settled = _settled(pet, fact, at)
    try:
        if not _obeys(pet, at.policy):
            raise Refused("conflict", f"the album is folded by engine {at.policy.engine}, which obeys no decisions")
        verdict = decide(situation, fact, pet.version + 1)
    except Refused as refused:
        settled = msgspec.structs.replace(settled, code=refused.code, reason=str(refused))
        result.outputs.append(settled_output(settled))
        return result
    decision, undone = verdict.decision, verdict.undone
    if undone:
        pet.undone = [*pet.undone, Undone(pet.version + 1, tuple(sorted(decision.about)))][-UNDONE_KEPT:]
    elif decision.begun:
        pet.next_cluster += 1
    rules = Rules(at.policy, verdict.decisions, gone=situation.gone)
    images = [image_id for image_id, _ in decision.images()]
    job = JobContext(job_id=fact.decision_id, reason=fact.why)
    went = _apply(pet, situation, rules, images, at, result, job)
    settled = msgspec.structs.replace(
        settled,
        accepted=True,
        version=pet.version,
        cluster=decision.cluster,
        images=sum(count for (source, target), count in went.items() if source != target),
        undoes=decision.decision_id if undone else "",
    )
    result.outputs.append(settled_output(settled))
    return result


def refuse_decision(pet: Pet, fact: DecisionSubmitted, at: Position, reason: str) -> Step:
    """A decision whose version could not be kept is refused, too, and changes nothing."""
    pet.last_offset = at.offset
    result = Step(model=max(pet.model, 0))
    if _is_first(pet, result, f"decision#{fact.decision_id}"):
        settled = msgspec.structs.replace(_settled(pet, fact, at), code="too_many", reason=reason)
        result.outputs.append(settled_output(settled))
    return result


def fold_removal(pet: Pet, fact: ImagesRemoved, at: Position, history: Callable[[], Iterable[ImageRow]]) -> Step:
    """Take images out of the album that are gone where they came from; those that it lacks are passed over.

    Nobody is asked, it cannot be undone, and it counts among no limits of decisions. Raises DeadLetter, before any
    change, where the album's engine cannot leave images out.
    """
    if pet.image_count and not _obeys(pet, at.policy):
        raise DeadLetter(f"images cannot be taken out of an album that is folded by engine {at.policy.engine}")
    result = Step(model=max(pet.model, 0))
    pet.last_offset = at.offset
    if not _is_first(pet, result, f"removal#{fact.request_id}"):
        return result
    situation = _situation(pet, Album(pet.model).read(history()), at.policy)
    known = set(situation.gone)
    images = [image_id for image_id in dict.fromkeys(fact.image_ids) if image_id in situation.place.keys() - known]
    if images:
        rules = Rules(at.policy, situation.decisions, gone=(*situation.gone, *images))
        job = JobContext(job_id=fact.request_id, reason=fact.reason)
        _apply(pet, situation, rules, images, at, result, job)
    return result


def _is_first(pet: Pet, result: Step, key: str) -> bool:
    """Note that a request is settled; says whether it was not before. Ids of callers hold no ``#``."""
    if key in pet.ended:
        return False
    pet.ended.add(key)
    result.ended.append(key)
    return True


def _obeys(pet: Pet, policy: Policy) -> bool:
    """Whether the engine of the policy, and the one that has folded the album, let decisions be laid on top."""
    return engine_of(policy).regroup is not None and (pet.grouped or not pet.image_count)


def _situation(pet: Pet, album: Album, policy: Policy) -> Situation:
    rules = pet.rules or Rules(policy, ())
    clusters = ShownClusters(pet, rules)
    place = {image_id: clusters.place(image_id, album.where(image_id)) for image_id in album.order}
    return Situation(pet, album, clusters, rules.decisions, rules.gone, place)


def _apply(
    pet: Pet,
    situation: Situation,
    rules: Rules,
    images: Iterable[str],
    at: Position,
    result: Step,
    job: JobContext,
) -> Counter[tuple[int, int]]:
    """Let `rules` hold, and tell of these images. Returns how many came from where to where."""
    telling = first_telling(pet)
    done = counted(pet, rules, situation.album, at.policy)
    telling.scores, telling.clusters = done.scores, done.clusters
    clusters = ShownClusters(pet, pet.rules or Rules(at.policy, ()))
    changes, telling.went = moved(pet, situation.album, images, situation.place, clusters, done.scores)
    changes.touched = set(done.touched)
    result.decided = True
    make_version(pet, changes, job, at, result, telling)
    return telling.went


def _settled(pet: Pet, fact: DecisionSubmitted, at: Position) -> DecisionSettled:
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
        accepted=False,
        version=pet.version,
    )


def kept_through(
    pet: Pet, rules: Rules, album: Album, was_in: Mapping[str, int], policy: Policy
) -> Mapping[str, float]:
    """Let `rules` hold in the album that was folded anew, in place. Returns the score of each decided image.

    `album`: where the images lie now. `was_in`: the components that they were in before. The components are others now:
    those that are mostly of what a decision has placed in a cluster, and of what followed it there, follow it again.
    """
    decisions = []
    for decision in rules.decisions:
        followed, homes = dict(decision.homes), []
        for number, image_ids in decision.places:
            if number < 0:
                continue
            placed = set(image_ids)
            inside = Counter(
                album.where(image_id)
                for image_id, component in was_in.items()
                if image_id in placed or followed.get(component) == number
            )
            anchored = {album.where(image_id) for image_id in placed} & pet.groups.keys()
            homes += [(each, number) for each in sorted(anchored) if 2 * inside[each] > pet.mixture.count(each)]
        decisions.append(msgspec.structs.replace(decision, homes=tuple(homes)))
    return counted(pet, Rules(policy, tuple(decisions), gone=rules.gone), album, policy).scores
