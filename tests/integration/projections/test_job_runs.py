"""A requeue starts a job's next run: the row shows that run, whatever order the messages of all runs come in."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from projections.jobs import MAX_RUN, check_command, check_status, progress
from projections.reader import ClusterReader
from projections.text import INT_MAX
from schemas.commands import EmbedImages
from schemas.errors import InvalidInput
from schemas.public import JobState, JobStatus
from tests.integration.projections.test_jobs import MISSING, job, named, queued, record, state

STATES: tuple[JobState, ...] = ("queued", "processing", "failed", "succeeded")


async def test_a_requeue_puts_the_job_back_to_queued_and_clears_its_tries(pool: Any, reader: ClusterReader) -> None:
    await record(
        pool,
        queued(),
        state("processing", 1),
        queued(attempt=5, seconds=2),
        state("succeeded", 3, attempt=5, version=7, placed=120, failed=8, failed_images=(MISSING,), error="8 failed"),
    )
    row = await job(reader)
    assert (row.status, row.attempts, row.run, row.image_count) == ("succeeded", 5, 1, 128)

    await record(pool, queued(run=2, requeue="abc", parts=1, image_ids=("i9",), job_images=8, seconds=4))
    row = await job(reader)
    assert (row.status, row.attempts, row.run) == ("queued", 1, 2)
    assert (row.image_count, row.placed, row.failed, row.failed_images, row.completed_at) == (8, 0, 0, (), None)
    assert row.started_at is None, "of an earlier run"

    await record(pool, state("processing", 5, run=2), state("succeeded", 6, run=2, placed=7, known=1, version=8))
    row = await job(reader)
    assert (row.status, row.attempts, row.run, row.version, row.last_error) == ("succeeded", 1, 2, 8, None)
    assert (row.image_count, row.placed, row.known, row.failed) == (8, 7, 1, 0)


HISTORY: list[EmbedImages | JobStatus] = [
    queued(),
    state("processing", 1),
    queued(attempt=2, seconds=2),
    state("failed", 3, attempt=2, failed=128, failed_images=(MISSING,), error="storage gone"),
    queued(run=2, requeue="abc", parts=1, job_images=64, seconds=4),
    queued(run=2, requeue="def", parts=1, job_images=3, seconds=4.5),
    state("processing", 5, run=2),
    queued(run=2, requeue="abc", parts=1, job_images=64, attempt=2, seconds=6),
    state("succeeded", 7, run=2, attempt=2, placed=64, version=3),
    queued(run=3, requeue="xyz", parts=1, job_images=1, seconds=8),
    state("failed", 9, run=3, failed=1, error="still gone"),
]


@pytest.mark.parametrize("length", range(4, len(HISTORY) + 1))
async def test_messages_of_all_runs_in_any_order_give_one_row(pool: Any, reader: ClusterReader, length: int) -> None:
    rows = []
    for trial in range(15):
        messages = [named(message, f"job_{trial}") for message in HISTORY[:length]]
        if trial:
            shuffler = random.Random(f"{length}/{trial}")
            messages += shuffler.choices(messages, k=3)
            shuffler.shuffle(messages)
        await record(pool, *messages)
        rows.append(msgspec.structs.replace(await job(reader, f"job_{trial}"), id="", job_id="", cursor=""))
    assert rows == [rows[0]] * len(rows)


async def test_commands_of_every_run_and_requeue_are_kept(pool: Any) -> None:
    asked = [
        queued(),
        queued(run=2, requeue="abc"),
        queued(run=2, requeue="def"),
        queued(run=2, requeue="abc", attempt=2),
    ]
    await record(pool, *asked, *asked)
    rows = await pool.fetch("SELECT run, requeue, part, attempt FROM cluster_job_commands ORDER BY 1, 2, 3, 4")
    assert [tuple(row) for row in rows] == [(1, "", 1, 1), (2, "abc", 1, 1), (2, "abc", 1, 2), (2, "def", 1, 1)]


def test_progress_orders_by_run_then_end_then_try_then_state() -> None:
    places = [
        (run, attempt, each)
        for run in (1, 2, MAX_RUN)
        for states in (STATES[:2], STATES[2:])
        for attempt in (1, 2, INT_MAX)
        for each in states
    ]
    reached = [progress(*place) for place in places]
    assert reached == sorted(set(reached))
    assert reached[-1] < 2**63


@pytest.mark.parametrize("run", [0, -1, MAX_RUN + 1])
def test_a_run_that_no_column_holds_is_refused(run: int) -> None:
    with pytest.raises(InvalidInput, match="run"):
        check_status(state("queued", 1, run=run))
    with pytest.raises(InvalidInput, match="run"):
        check_command(queued(run=run))
