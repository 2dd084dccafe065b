"""When a job ends, and what is said about it then. Pure; used by the fold.

A job ends when all its commands are settled: at least one image placed or known → succeeded, with the failed ones
named; none → failed; a job that names no image → succeeded, and the pet's current clusters are published again.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.facts import Fact, ImagesEmbedded, JobContext
from schemas.public import DeadLetterRecord, FailedImageReport, JobStatus
from tables.changes import Position
from tables.outputs import Output, dead_letter_output, status_output, updated_output
from tables.pet import FAILURES_REPORTED, FailureNote, OpenJob, Pet


@dataclass(frozen=True)
class Settled:
    """A job after one of its commands: its counts, and whether this command was the last."""

    job: OpenJob
    ended: bool


def is_unsettled(pet: Pet, job: JobContext) -> bool:
    """Whether this command of the job has not been counted yet."""
    if job.job_id in pet.ended:
        return False
    return job.job_id not in pet.jobs or (job.parts, job.part) not in pet.jobs[job.job_id].settled


def settle(pet: Pet, fact: ImagesEmbedded, placed: int) -> Settled:
    """Count a command of a job; a repeat counts nothing."""
    context = fact.job
    if not is_unsettled(pet, context):
        return Settled(pet.jobs.get(context.job_id, OpenJob()), ended=False)
    job = pet.jobs.setdefault(context.job_id, OpenJob())
    job.settled.append((context.parts, context.part))
    job.attempt = max(job.attempt, context.attempt)
    job.placed += placed
    job.known += len(fact.known) + len(fact.images) - placed
    job.failed += len(fact.failed)
    room = FAILURES_REPORTED - len(job.failures)
    job.failures += [FailureNote(f.image_id, f.kind, f.reason[:200]) for f in fact.failed[:room]]
    ended = sum(parts == context.parts for parts, _ in job.settled) >= context.parts
    if ended:
        del pet.jobs[context.job_id]
        pet.ended.add(context.job_id)
    return Settled(job, ended)


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
        version=pet.version,
        placed=job.placed,
        known=job.known,
        failed=job.failed,
        failed_images=tuple(FailedImageReport(f.image_id, f.kind, f.reason) for f in job.failures),
        error="" if succeeded else f"none of {named} images could be used; first: {first}",
    )
    outputs = [status_output(status)]
    if named == 0 and pet.version:
        outputs.append(updated_output(pet.pet_id, pet.version, pet.snapshot))
    if not succeeded:
        outputs.append(dead_letter_output(_dead_job(status, at)))
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
    )
    outputs = [dead_letter_output(letter)]
    if isinstance(fact, ImagesEmbedded) and fact.job.job_id not in pet.ended:
        status = JobStatus(
            pet_id=pet.pet_id,
            job_id=fact.job.job_id,
            status="failed",
            at=at.time,
            attempt=fact.job.attempt,
            version=pet.version,
            failed=len(fact.images),
            error=reason,
        )
        outputs.append(status_output(status))
    return outputs


def _dead_job(status: JobStatus, at: Position) -> DeadLetterRecord:
    return DeadLetterRecord(
        subject="job",
        kind="no_image_usable",
        reason=status.error,
        attempts=status.attempt,
        source_id=f"media.pet-log/{at.partition}/{at.offset}",
        failed_at=at.time,
        pet_id=status.pet_id,
        job_id=status.job_id,
    )
