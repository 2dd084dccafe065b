"""Commands and job states, as rows of `cluster_jobs`. Called by `projections.batches` inside its transaction.

One rule merges all messages about a job in whatever order they come: `progress` orders (run, ended or not, try, state)
and only grows. A run ends once and for all, because the fold ends it once: a command of it that is read again behind a
crash, and its next try, change nothing. A requeue begins the next run with try 1. Counts, version and end belong to the
message with the highest progress; `last_error` to the last run that ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from projections.queries import load
from projections.text import INT_MAX, clean, count, jsonb, moment
from schemas.commands import EmbedImages
from schemas.errors import InvalidInput
from schemas.ids import check_id, job_key
from schemas.public import JobState, JobStatus

RANK: Final[dict[JobState, int]] = {"queued": 0, "processing": 1, "failed": 2, "succeeded": 3}
"""Order of the states within one try. A run ends once; were it told twice, success would stand."""
ENDED_BIT: Final = 33
"""Bit of `progress` of an ended run, above those of `INT_MAX` tries of four states. Migration 0002 knows it too."""
RUN_BITS: Final = 34
"""Bits of `progress` below the run."""
MAX_RUN: Final = 2 ** (63 - RUN_BITS) - 1


@dataclass(frozen=True, slots=True)
class RecordedCommand:
    """A command with where and when it stands in `media.jobs`.

    `recorded_at` stands in for a command that does not say when it was enqueued.
    """

    command: EmbedImages
    recorded_at: datetime
    partition: int | None = None
    offset: int | None = None


def progress(run: int, attempt: int, state: JobState) -> int:
    """The number by which messages about a job are ordered."""
    return (run - 1 << RUN_BITS) + (has_ended(state) << ENDED_BIT) + attempt * len(RANK) + RANK[state]


def has_ended(state: JobState) -> bool:
    """Whether it is the end of a run."""
    return state in ("succeeded", "failed")


async def record_commands(connection: Any, commands: Sequence[RecordedCommand]) -> None:
    """Queue the commands' jobs, in one round trip for the jobs and one for the commands; a repeat changes nothing."""
    await connection.executemany(load("upsert_job"), [_queued_row(recorded) for recorded in commands])
    await connection.executemany(load("insert_command"), [_command_row(recorded) for recorded in commands])


async def record_statuses(connection: Any, statuses: Sequence[JobStatus]) -> None:
    """Merge states into their jobs' rows, in one round trip; a repeat or an outrun state changes nothing."""
    await connection.executemany(load("upsert_job"), [_status_row(status) for status in statuses])


def check_command(command: EmbedImages) -> None:
    """Raises InvalidInput when a decoded command does not fit the tables' columns."""
    for field, value in (("parts", command.parts), ("job_images", command.job_images)):
        count(value, field)
    count(command.attempt, "attempt", INT_MAX)
    _check_run(command.run)
    if command.enqueued_at:
        moment(command.enqueued_at, "enqueued_at")


def check_status(status: JobStatus) -> None:
    """Raises InvalidInput when the state cannot be recorded."""
    check_id(status.pet_id, "pet_id")
    check_id(status.job_id, "job_id")
    moment(status.at, "at")
    if status.enqueued_at:
        moment(status.enqueued_at, "enqueued_at")
    for field, value in (("placed", status.placed), ("known", status.known), ("failed", status.failed)):
        count(value, field, INT_MAX // 4)
    count(status.attempt, "attempt", INT_MAX)
    _check_run(status.run)
    count(status.version, "version", 2**63 - 1)


def _check_run(run: int) -> None:
    if not 1 <= run <= MAX_RUN:
        raise InvalidInput("run", f"must be between 1 and {MAX_RUN}, got {run}")


def _queued_row(recorded: RecordedCommand) -> tuple[Any, ...]:
    command = recorded.command
    return (
        job_key(command.pet_id, command.job_id),
        command.pet_id,
        command.job_id,
        "queued",
        command.attempt,
        progress(command.run, command.attempt, "queued"),
        _enqueued_at(recorded),
        None,
        None,
        command.job_images,
        0,
        0,
        0,
        "[]",
        0,
        None,
        0,
        clean(command.reason),
        clean(command.source),
        command.run,
        _enqueued_at(recorded),
        False,
    )


def _command_row(recorded: RecordedCommand) -> tuple[Any, ...]:
    command = recorded.command
    return (
        job_key(command.pet_id, command.job_id),
        command.run,
        clean(command.requeue),
        command.part,
        command.attempt,
        command.parts,
        len(command.image_ids),
        jsonb(command),
        recorded.partition,
        recorded.offset,
        _enqueued_at(recorded),
    )


def _status_row(status: JobStatus) -> tuple[Any, ...]:
    at = moment(status.at, "at")
    reached = progress(status.run, status.attempt, status.status)
    ended = has_ended(status.status)
    return (
        job_key(status.pet_id, status.job_id),
        status.pet_id,
        status.job_id,
        status.status,
        status.attempt,
        reached,
        at,
        at if status.status == "processing" else None,
        at if ended else None,
        status.placed + status.known + status.failed,
        status.placed,
        status.known,
        status.failed,
        jsonb(status.failed_images),
        status.version,
        clean(status.error) or None if ended else None,
        reached if ended else 0,
        "",
        "",
        status.run,
        moment(status.enqueued_at, "enqueued_at") if status.enqueued_at else at,
        not status.enqueued_at,
    )


def _enqueued_at(recorded: RecordedCommand) -> datetime:
    text = recorded.command.enqueued_at
    return moment(text, "enqueued_at") if text else recorded.recorded_at
