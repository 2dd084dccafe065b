"""What applying a fact to a pet comes to: rows to keep, messages to send, and the version that it makes. Pure; used by
the fold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from schemas.facts import JobContext, Policy
from tables.changes import Changes, Position
from tables.decided import Before, before, told
from tables.faces import faces_of
from tables.outputs import Output, snapshot, updated_output, version_output
from tables.pet import Pet
from tables.rows import ImageRow
from tables.rules import Rules
from tables.shown import View, view_of
from tables.version_message import build_version


@dataclass
class Step:
    """What a fact did: rows to keep and messages to send. `touched`: components whose row is out of date.

    `purged`: none of the rows that the pet had is to be kept. `decided`: what users' decisions hold is out of date.
    """

    outputs: list[Output] = field(default_factory=list)
    image_row: ImageRow | None = None
    touched: set[int] = field(default_factory=set)
    folded: list[str] = field(default_factory=list)
    model: int = -1
    ended: list[str] = field(default_factory=list)
    purged: bool = False
    decided: bool = False


@dataclass
class Telling:
    """What a version of a pet with decisions is told from: what was shown before, how many decided images came from
    where to where, their scores, and the clusters of which decisions hold something else now.
    """

    earlier: Before
    went: Counter[tuple[int, int]] = field(default_factory=Counter)
    scores: Mapping[str, float] = field(default_factory=dict)
    clusters: Set[int] = frozenset()


def telling_of(pet: Pet) -> Telling | None:
    """To be asked for once, before anything changes; None for a pet without decisions."""
    return None if pet.rules is None else first_telling(pet)


def first_telling(pet: Pet) -> Telling:
    """The same where the event itself decides something."""
    shown, pet.shown = pet.shown, None  # the event may change it, whether it makes a version or not
    return Telling(shown or before(pet, view_of(pet)))


def make_version(
    pet: Pet, changes: Changes, job: JobContext, at: Position, result: Step, telling: Telling | None
) -> None:
    """Count a version and send it, when the event changed the answer; a job without images gets the current one
    again.
    """
    result.touched = changes.touched
    pet.last_offset = at.offset
    if not changes and not result.decided:
        return
    pet.version += 1
    pet.version_offset = at.offset
    if job.coverage or job.quality_score is not None:
        pet.coverage, pet.quality_score = job.coverage, job.quality_score
    view, changes = _shown(pet, changes, at.policy, telling)
    face = faces_of(pet, view.clusters)
    changed = {view.clusters.number(component) for component in changes.touched} | changes.clusters
    pet.snapshot = snapshot(pet, view, face, at.policy, changed, job_id=job.job_id, time=at.time)
    result.outputs.append(version_output(build_version(pet, view, face, changes, job, at)))
    result.outputs.append(updated_output(pet.pet_id, pet.version, pet.snapshot))


def _shown(pet: Pet, changes: Changes, policy: Policy, telling: Telling | None) -> tuple[View, Changes]:
    """The pet and the changes as everybody sees them."""
    if telling is None:
        return view_of(pet), changes
    view = view_of(pet, pet.rules or Rules(policy, ()))
    assert view.decided is not None, "it was made of rules"
    shown = told(pet, telling.earlier, view.decided, changes, telling.went, telling.scores)
    shown.clusters |= telling.clusters
    if pet.rules is not None:
        pet.shown = before(pet, view)
    return view, shown
