"""When a job ends, and what is said about it then. Pure; used by the fold.

A job ends when all its commands are settled, and a command is settled by the fact that leaves no image pending: at
least one image placed or known → succeeded, with the failed ones named; none → failed; a job that names no image →
succeeded, and the pet's current clusters are published again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from msgspec import UNSET

from schemas.facts import WHOLE_LIST, Fact, FailedImage, ImagesEmbedded, JobContext
from schemas.public import DeadLetterRecord, FailedImageReport, JobStatus
from tables.changes import Position
from tables.outputs import Output, dead_letter_output, status_output, updated_output
from tables.pet import (
    FAILURES_NOTED,
    FAILURES_REPORTED,
    MAX_OPEN_JOBS,
    UNKNOWN_NUMBER,
    FailureNote,
    OpenJob,
    Pet,
    Retried,
)

NOT_IN_ALBUM: Final = "its vector was refused earlier; requeue that dead letter"


@dataclass(frozen=True)
class Settled:
    """A job after one of its commands: its counts, and whether this command was the last."""

    job: OpenJob
    ended: bool


def is_unsettled(pet: Pet, fact: ImagesEmbedded) -> bool:
    """Whether this command of the job, or this try of it, tells something that has not been counted yet."""
    context = fact.job
    if _is_done(pet, context):
        return False
    before = _retried(pet.jobs.get(context.key, OpenJob()), context)
    return before is None or _tells_more(before, fact)


def settle(pet: Pet, fact: ImagesEmbedded, model: int, placed: int) -> Settled:
    """Count a command of a job, or one try of it; a repeat counts nothing.

    `model`: the fact's, as its index in the pet. `placed`: its images that are new to the album; they always count,
    because no image is new twice. What embed calls known but the album lacks counts as failed: the fact that brought it
    was refused.
    """
    context = fact.job
    job = pet.jobs.get(context.key, OpenJob())
    if _is_done(pet, context):
        return Settled(job, ended=False)
    before = _retried(job, context)
    if before is not None and not placed and not _tells_more(before, fact):
        return Settled(job, ended=False)
    pet.jobs[context.key] = job
    lacking = [image_id for image_id in fact.known if (model, image_id) not in pet.folded]
    failed = len(fact.failed) + len(lacking)
    known = len(fact.known) - len(lacking) + len(fact.images) - placed
    left = _pending(fact)
    if before is not None and before.pending != UNKNOWN_NUMBER:
        # A repeat names all images of the command; no more than were pending are not counted yet.
        not_placed = max(0, before.pending - placed)
        left = min(left, not_placed) if context.attempt >= before.attempt and left >= 0 else not_placed
        failed = min(max(0, failed - before.failed_in(context.attempt)), not_placed - left)
        known = not_placed - left - failed
    job.attempt = max(job.attempt, context.attempt)
    job.placed += placed
    job.known += known
    job.failed += failed
    _note_failures(pet, job, [*fact.failed, *(FailedImage(i, "not_in_album", NOT_IN_ALBUM) for i in lacking)], failed)
    if before is not None:
        job.retried.remove(before)
    if left:
        attempt = context.attempt if before is None else max(context.attempt, before.attempt)
        failed += 0 if before is None else before.failed_in(attempt)
        job.retried.append(Retried(context.parts, context.part, attempt, left, failed))
        return Settled(job, ended=False)
    job.settled.append((context.parts, context.part))
    ended = sum(parts == context.parts for parts, _ in job.settled) >= context.parts
    if ended:
        del pet.jobs[context.key]
        pet.ended.add(context.key)
    return Settled(job, ended)


def abandon(pet: Pet, at: Position) -> tuple[list[str], list[Output]]:
    """End the oldest open jobs beyond the bound as failed: keys of the ended ones, and the messages about them."""
    keys = list(pet.jobs)[: max(0, len(pet.jobs) - MAX_OPEN_JOBS)]
    outputs = []
    for key in keys:
        job = pet.jobs.pop(key)
        pet.ended.add(key)
        job_id, _, run = key.partition("#")
        status = JobStatus(
            pet_id=pet.pet_id,
            job_id=job_id,
            status="failed",
            at=at.time,
            attempt=job.attempt,
            run=int(run.partition(".")[0] or 1),
            version=pet.version,
            placed=job.placed,
            known=job.known,
            failed=job.failed,
            enqueued_at=at.time if pet.erased else UNSET,
            error=f"abandoned: more than {MAX_OPEN_JOBS} jobs of the pet were under way",
        )
        outputs += [status_output(status, key), dead_letter_output(_dead_job(status, "abandoned", at))]
    return keys, outputs


def _is_done(pet: Pet, context: JobContext) -> bool:
    """Whether the job has ended, or this command of it is settled."""
    job = pet.jobs.get(context.key)
    return context.key in pet.ended or (job is not None and (context.parts, context.part) in job.settled)


def _tells_more(before: Retried, fact: ImagesEmbedded) -> bool:
    """Whether a fact is of a later try, or of the same one with fewer images pending: behind a crash a try is repeated,
    and the source may be back meanwhile. Its retry then carries, or settles, only those.
    """
    if fact.job.attempt != before.attempt:
        return fact.job.attempt > before.attempt
    left = _pending(fact)
    return left != UNKNOWN_NUMBER and (before.pending == UNKNOWN_NUMBER or left < before.pending)


def _pending(fact: ImagesEmbedded) -> int:
    return UNKNOWN_NUMBER if WHOLE_LIST in fact.pending else len(fact.pending)


def _retried(job: OpenJob, context: JobContext) -> Retried | None:
    """What is kept of the command's last try that left images pending."""
    return next((r for r in job.retried if (r.parts, r.part) == (context.parts, context.part)), None)


def _note_failures(pet: Pet, job: OpenJob, failed: Sequence[FailedImage], count: int) -> None:
    """Keep the reasons of the last `count` failures, as far as there is room."""
    noted = sum(len(other.failures) for other in pet.jobs.values())
    room = max(0, min(FAILURES_REPORTED - len(job.failures), FAILURES_NOTED - noted))
    job.failures += [FailureNote(f.image_id, f.kind, f.reason[:200]) for f in failed[len(failed) - count :][:room]]


def outcome(pet: Pet, fact: ImagesEmbedded, settled: Settled, at: Position) -> list[Output]:
    """The messages that end a job."""
    job, context = settled.job, fact.job
    named = job.placed + job.known + job.failed
    succeeded = job.placed + job.known > 0 or named == 0
    first = f"{job.failures[0].image_id}: {job.failures[0].reason}" if job.failures else ""
    status = JobStatus(
        pet_id=pet.pet_id,
        job_id=context.job_id,
        status="succeeded" if succeeded else "failed",
        at=at.time,
        attempt=job.attempt,
        run=context.run,
        version=pet.version,
        placed=job.placed,
        known=job.known,
        failed=job.failed,
        failed_images=tuple(FailedImageReport(f.image_id, f.kind, f.reason) for f in job.failures),
        enqueued_at=context.enqueued_at if pet.erased else UNSET,
        error="" if succeeded else f"none of {named} images could be used; first: {first}",
    )
    outputs = [status_output(status, context.key)]
    if named == 0 and pet.version:
        outputs.append(updated_output(pet.pet_id, pet.version, pet.snapshot))
    if not succeeded:
        outputs.append(dead_letter_output(_dead_job(status, "no_image_usable", at)))
    return outputs


def refused(pet: Pet, fact: Fact, at: Position, reason: str) -> list[Output]:
    """The messages about a fact that cannot be folded."""
    letter = DeadLetterRecord(
        subject="fact",
        kind="not_folded",
        reason=reason,
        attempts=1,
        source_id=f"media.pet-log/{at.partition}/{at.offset}",
        failed_at=at.time,
        pet_id=pet.pet_id,
        job_id=fact.job.job_id if isinstance(fact, ImagesEmbedded) else "",
        run=fact.job.run if isinstance(fact, ImagesEmbedded) else 1,
    )
    outputs = [dead_letter_output(letter)]
    if isinstance(fact, ImagesEmbedded) and fact.job.key not in pet.ended:
        job = pet.jobs.get(fact.job.key, OpenJob())
        status = JobStatus(
            pet_id=pet.pet_id,
            job_id=fact.job.job_id,
            status="failed",
            at=at.time,
            attempt=max(job.attempt, fact.job.attempt),
            run=fact.job.run,
            version=pet.version,
            placed=job.placed,
            known=job.known,
            failed=job.failed + len(fact.images) + len(fact.failed),
            enqueued_at=fact.job.enqueued_at if pet.erased else UNSET,
            error=reason,
        )
        outputs.append(status_output(status, fact.job.key))
    return outputs


def _dead_job(status: JobStatus, kind: str, at: Position) -> DeadLetterRecord:
    return DeadLetterRecord(
        subject="job",
        kind=kind,
        reason=status.error,
        attempts=status.attempt,
        run=status.run,
        source_id=f"media.pet-log/{at.partition}/{at.offset}",
        failed_at=at.time,
        pet_id=status.pet_id,
        job_id=status.job_id,
    )
