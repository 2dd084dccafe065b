"""The fold: `step(pet, fact, …)` applies one fact of the log to a pet. Pure and deterministic; see
docs/architecture.md.

It does no I/O, reads no clock and no setting. Whether an input can be folded is decided before anything changes; from
there on applying it never fails. Called by tables.store (live) and tables.replay (rebuilds).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import msgspec

from schemas.errors import DeadLetter
from schemas.facts import (
    DecisionSubmitted,
    EmbeddedImage,
    Fact,
    ImagesEmbedded,
    ImagesRemoved,
    JobContext,
    PetPurged,
    Policy,
    ReclusterRequested,
)
from schemas.ids import UNCLUSTERED
from tables import jobs
from tables.changes import Changes, Position, change_of
from tables.engines import engine_of
from tables.fold_decision import fold_decision, fold_removal, kept_through, refuse_decision
from tables.heroes import rated_of
from tables.parts import arrived
from tables.pet import Pet, Rated, Waiting, waiting_of
from tables.placing import group_touched, place, shortlist
from tables.purge import is_ignored, purge
from tables.recluster import Album, recluster
from tables.rows import UNFOLDED, ImageRow, PlacedImage, RatedImage, image_row
from tables.step import Step, Telling, make_version, telling_of
from tables.vectors import is_unit

History = Callable[[], Iterable[ImageRow]]


def step(pet: Pet, fact: Fact, at: Position, promoted: str, history: History) -> Step:
    """Apply `fact` to `pet`, in place.

    `promoted`: the model in force, empty for none yet (then the pet's own, or the fact's). `history`: the pet's image
    rows in log order, read only when the album is folded anew. Raises DeadLetter, before any change, for a fact that
    cannot be folded.
    """
    if pet.rules is not None and engine_of(at.policy).regroup is None:
        at = replace(at, policy=pet.rules.policy)  # decisions hold whatever the policy; this engine obeys none
    if isinstance(fact, ImagesEmbedded):
        return _fold_images(pet, fact, at, promoted, history)
    if isinstance(fact, ReclusterRequested):
        return _fold_recluster(pet, fact, at, history)
    if isinstance(fact, PetPurged):
        outputs = purge(pet, fact, at)
        return Step(outputs=outputs, purged=bool(outputs))
    if isinstance(fact, DecisionSubmitted | ImagesRemoved) and is_ignored(pet, fact, at):
        pet.last_offset = at.offset
        return Step(model=max(pet.model, 0))
    if isinstance(fact, DecisionSubmitted):
        return fold_decision(pet, fact, at, history)
    if isinstance(fact, ImagesRemoved):
        return fold_removal(pet, fact, at, history)
    raise DeadLetter(f"facts of type {type(fact).__name__} are not folded by this release")


def _fold_images(pet: Pet, fact: ImagesEmbedded, at: Position, promoted: str, history: History) -> Step:
    if is_ignored(pet, fact, at):
        pet.last_offset = at.offset
        return Step(model=max(pet.model, 0))
    _check(pet, fact)
    engine = engine_of(at.policy)  # an unknown engine is refused before anything changes
    result, telling = Step(model=pet.model_index(fact.model)), telling_of(pet)
    in_force = pet.model_index(promoted) if promoted else (pet.model if pet.model >= 0 else result.model)
    replaces = fact.job.force and jobs.is_unsettled(pet, fact)
    row, changes, images_before = image_row(result.model, fact), Changes(), pet.image_count
    switched = in_force == result.model and pet.model != in_force
    if switched and pet.model >= 0:
        changes.reclustered = True
    if switched:
        pet.model = in_force
    grouped = engine.regroup is not None
    if pet.grouped != grouped and pet.image_count and pet.model == result.model:
        changes.reclustered = True  # the components of one kind of engine mean nothing to the other
    if pet.model == result.model:
        pet.grouped = grouped
    if not changes.reclustered and result.model == pet.model:
        shortlist(pet, changes, fact.images, at.policy)
    for image in fact.images:
        known = (result.model, image.image_id) in pet.folded
        if known and not replaces:
            continue
        if known or changes.reclustered or result.model != pet.model:
            row.images.append(_kept(_noted(pet, image), image.vector, UNFOLDED))
            if not changes.reclustered and not _is_in_album(pet, image.image_id):
                _add_unplaced(pet, changes, image)
        else:
            row.images.append(_place(pet, changes, image, row.labels_of(image.image_id), at.policy))
        if not known:
            pet.folded.add((result.model, image.image_id))
            result.folded.append(image.image_id)
    group_touched(pet, changes, images_before, at.policy)
    if changes.placed:
        row = msgspec.structs.replace(row, images=[_scored(image, changes) for image in row.images])
    before = jobs.settle(pet, fact, result.model, placed=len(result.folded))
    has_album = row.model == pet.model and pet.image_count > 0
    changes.reclustered |= before.ended and replaces and (bool(row.images) or has_album)
    if changes.reclustered:
        row = _refold(pet, changes, row, at, history, result, telling)
    else:
        row = msgspec.structs.replace(row, merges=changes.merges)
        if telling is not None:
            result.decided, telling.clusters = arrived(pet, row, at.policy)
    result.image_row = row if row.images or row.recluster is not None else None
    make_version(pet, changes, fact.job, at, result, telling)
    if before.ended:
        result.ended.append(fact.job.key)
        result.outputs += jobs.outcome(pet, fact, before, at)
    abandoned, outputs = jobs.abandon(pet, at)
    result.ended += abandoned
    result.outputs += outputs
    return result


def _check(pet: Pet, fact: ImagesEmbedded) -> None:
    """Raises DeadLetter when a vector cannot be folded."""
    same_model = pet.model >= 0 and pet.models[pet.model] == fact.model
    if fact.images and same_model and len(pet.mixture) and pet.mixture.dimension != fact.dimension:
        raise DeadLetter(
            f"dimension: {fact.dimension}, but model {fact.model} has {pet.mixture.dimension} for this pet"
        )
    for image in fact.images:
        if len(image.vector) != 2 * fact.dimension:
            raise DeadLetter(f"images.{image.image_id}.vector: {len(image.vector)} bytes for {fact.dimension} values")
        if not is_unit(image.vector):
            raise DeadLetter(f"images.{image.image_id}.vector: its norm is not 1")


def refuse(pet: Pet, fact: Fact, at: Position, reason: str) -> Step:
    """What a fact that cannot be folded leaves behind: a dead letter, and its job, if it has one, failed."""
    pet.last_offset = at.offset
    if isinstance(fact, DecisionSubmitted):
        return refuse_decision(pet, fact, at, reason)
    result = Step(outputs=jobs.refused(pet, fact, at, reason))
    if isinstance(fact, ImagesEmbedded) and fact.job.key not in pet.ended:
        pet.jobs.pop(fact.job.key, None)
        pet.ended.add(fact.job.key)
        result.ended.append(fact.job.key)
    return result


def _fold_recluster(pet: Pet, fact: ReclusterRequested, at: Position, history: History) -> Step:
    result, changes, telling = Step(model=max(pet.model, 0)), Changes(), telling_of(pet)
    job = JobContext(job_id=fact.request_id, reason=fact.reason)
    if pet.model < 0 or fact.request_id in pet.ended:
        pet.last_offset = at.offset  # else a repeat of it would not be known for one
        return result
    result.image_row = _refold(pet, changes, ImageRow(pet.model, []), at, history, result, telling)
    result.ended.append(fact.request_id)
    pet.ended.add(fact.request_id)
    make_version(pet, changes, job, at, result, telling)
    return result


def _place(pet: Pet, changes: Changes, image: EmbeddedImage, labels: list[str], policy: Policy) -> PlacedImage:
    """Fold one new image of the mixture's model. One that has come under another model is in no cluster until now."""
    if _is_in_album(pet, image.image_id):
        pet.unclustered_count -= 1
    else:
        pet.image_count += 1
    votes = dict.fromkeys(labels, 1)
    waiting, component = place(pet, changes, _noted(pet, image), image.vector, votes, policy)
    return _kept(waiting, image.vector, component)


def _is_in_album(pet: Pet, image_id: str) -> bool:
    """Whether the image has come before, under whichever model."""
    return any((model, image_id) in pet.folded for model in range(len(pet.models)))


def _add_unplaced(pet: Pet, changes: Changes, image: EmbeddedImage) -> None:
    """An image that only another model has embedded is in the album, and in no cluster until that is in force."""
    pet.image_count += 1
    pet.unclustered_count += 1
    changes.members[image.image_id] = change_of(_noted(pet, image), UNCLUSTERED, "opened")


def _scored(image: PlacedImage, changes: Changes) -> PlacedImage:
    """The image with the score that it was given once the clusters stood."""
    change = changes.members.get(image.image_id)
    return image if change is None else msgspec.structs.replace(image, score=change.score)


def _refold(
    pet: Pet,
    changes: Changes,
    row: ImageRow,
    at: Position,
    history: History,
    result: Step,
    telling: Telling | None,
) -> ImageRow:
    """Fold the whole album with the event's own images, into `changes`. Returns the event's row, which says where all
    lie.
    """
    pet.grouped = engine_of(at.policy).regroup is not None
    album = Album(pet.model).read([*history(), msgspec.structs.replace(row, merges=changes.merges)])
    was_in = {image_id: album.where(image_id) for image_id in album.order} if pet.rules is not None else {}
    done, lies = recluster(pet, album, at.policy)
    if pet.rules is not None and telling is not None:
        album.component, album.voted, album.parents = dict(lies), dict(album.labels), {}
        telling.scores = kept_through(pet, pet.rules, album, was_in, at.policy)
        result.decided = True
    changes.members, changes.touched = done.members, done.touched
    # What ended before the album was folded anew has ended all the same; leader-merge 1 is frozen without it.
    changes.merged = changes.merged | done.merged if pet.grouped else done.merged
    changes.component_of, changes.memberships = done.component_of, done.memberships
    changes.duplicates, changes.reclustered = done.duplicates, True
    changes.moves, changes.clusters, changes.begun = [], set(), {}  # every image is named
    return msgspec.structs.replace(row, merges=[], recluster=lies)


def _noted(pet: Pet, image: EmbeddedImage) -> Waiting:
    return rated_of(image, 0.0) if pet.grouped else waiting_of(image, 0.0)


def _kept(w: Waiting, vector: bytes, component: int) -> PlacedImage:
    fields = (w.image_id, vector, component, w.score, w.quality, w.phash, w.width, w.height, w.taken_at)
    return RatedImage(*fields, w.parts) if isinstance(w, Rated) else PlacedImage(*fields)
