"""Migration 0002 on data: the release before goes on writing after the upgrade, and after a downgrade."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from projections.dead_letters import RecordedLetter, record_letters
from projections.jobs import RecordedCommand, record_commands, record_statuses
from projections.migrate import current, downgrade, upgrade
from projections.reader import ClusterReader
from projections.urls import driver_url
from schemas.ids import job_key
from schemas.public import DeadLetterRecord
from tests.integration.projections.samples import START
from tests.integration.projections.test_jobs import RECEIVED, at, queued, state

OLD_INSERT_COMMAND: Final = """
INSERT INTO cluster_job_commands (
    cluster_job_id, part, attempt, parts, image_count, command, log_partition, log_offset, enqueued_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT DO NOTHING
"""
OLD_UPSERT_JOB: Final = """
INSERT INTO cluster_jobs AS j (id, pet_id, job_id, status, attempts, progress, enqueued_at, outcome_progress)
VALUES ($1, '101', 'job_1', $2, $3, $4, $5, $6)
ON CONFLICT (id) DO UPDATE SET
    status = CASE WHEN excluded.progress > j.progress THEN excluded.status ELSE j.status END,
    attempts = greatest(j.attempts, excluded.attempts),
    progress = greatest(j.progress, excluded.progress),
    outcome_progress = greatest(j.outcome_progress, excluded.outcome_progress)
"""
KEY: Final = job_key("101", "job_1")


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(driver_url(url))
    try:
        yield connection
    finally:
        await connection.close()


OLD_FAILED_AT_2 = 2 * 4 + 2
OLD_SUCCEEDED_AT_3 = 3 * 4 + 3
"""What revision 0001's release has for `progress`: the try, four to each, and the state's rank."""


async def old_release_writes(connection: Any) -> None:
    """What revision 0001's release writes for a job that fails at its second try."""
    for part, attempt in ((1, 1), (2, 1), (1, 1), (1, 2)):
        await connection.execute(OLD_INSERT_COMMAND, KEY, part, attempt, 2, 1, "{}", 0, part, START)
    for status, attempt, reached in (("queued", 1, 4), ("processing", 1, 5), ("failed", 2, 10), ("queued", 2, 8)):
        await connection.execute(OLD_UPSERT_JOB, KEY, status, attempt, reached, START, 10 if status == "failed" else 0)


async def commands(connection: Any) -> list[tuple[int, ...]]:
    rows = await connection.fetch("SELECT part, attempt FROM cluster_job_commands ORDER BY part, attempt")
    return [tuple(row) for row in rows]


async def test_the_release_before_writes_the_same_before_and_after_the_upgrade(database_url: str) -> None:
    seen = []
    for revision in ("0001", "0002"):
        downgrade(database_url, "base")
        upgrade(database_url, "0001")
        async with connected(database_url) as connection:
            if revision == "0002":
                upgrade(database_url, revision)
            await connection.execute(OLD_UPSERT_JOB, KEY, "queued", 1, 4, START, 0)
            await old_release_writes(connection)
            job = await connection.fetchrow("SELECT status::text, attempts, progress FROM cluster_jobs")
            seen.append((tuple(job), await commands(connection)))
    assert seen[0] == seen[1] == (("failed", 2, OLD_FAILED_AT_2), [(1, 1), (1, 2), (2, 1)])


async def test_this_release_goes_on_with_rows_of_the_release_before(database_url: str) -> None:
    upgrade(database_url, "0001")
    async with connected(database_url) as connection:
        await connection.execute(OLD_UPSERT_JOB, KEY, "queued", 1, 4, START, 0)
        await old_release_writes(connection)
    upgrade(database_url)
    async with connected(database_url) as connection:
        await record_statuses(connection, [state("processing", 9, attempt=3)])
        (row,) = await ClusterReader(connection).jobs_by_id("job_1")
        assert (row.status, row.attempts, row.run) == ("failed", 2, 1), "a state that was outrun changes nothing"

        await record_commands(connection, [RecordedCommand(queued(run=2, requeue="abc"), RECEIVED, 0, 9)])
        (row,) = await ClusterReader(connection).jobs_by_id("job_1")
        assert (row.status, row.attempts, row.run) == ("queued", 1, 2)
        kept = await connection.fetch("SELECT run, requeue, part, attempt FROM cluster_job_commands ORDER BY run, part")
        assert [tuple(each) for each in kept][-1] == (2, "abc", 1, 1)


async def test_a_downgrade_with_later_runs_gives_the_release_before_its_tables(database_url: str) -> None:
    upgrade(database_url)
    letter = DeadLetterRecord(subject="job", kind="k", reason="r", attempts=1, source_id="s", failed_at=at(1))
    async with connected(database_url) as connection:
        asked = [queued(), queued(run=2, requeue="abc"), queued(run=2, requeue="def")]
        await record_commands(connection, [RecordedCommand(command, RECEIVED, 0, 1) for command in asked])
        await record_statuses(connection, [state("succeeded", 9, attempt=3, run=2)])
        await record_letters(connection, [RecordedLetter(uuid.uuid4(), letter, 0, 5)])
        for topic in ("p.media.deadletter", "media.deadletter.actions", "media.jobs"):
            await connection.execute("INSERT INTO projection_positions VALUES ('postgres', $1, 0, 6)", topic)

    downgrade(database_url, "0001")
    assert current(database_url) == "0001"
    async with connected(database_url) as connection:
        assert await commands(connection) == [(1, 1)]
        job = await connection.fetchrow("SELECT status::text, progress, outcome_progress FROM cluster_jobs")
        assert tuple(job) == ("succeeded", OLD_SUCCEEDED_AT_3, OLD_SUCCEEDED_AT_3)
        await old_release_writes(connection)
        assert [row[0] for row in await connection.fetch("SELECT topic FROM projection_positions")] == ["media.jobs"]

    upgrade(database_url)
    async with connected(database_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM dead_letters") == 0
        new = await record_letters(connection, [RecordedLetter(uuid.uuid4(), letter, 0, 5)])
        assert new == {"job": 1}, "the topics are read from their start again"
        await record_commands(connection, [RecordedCommand(queued(run=2, requeue="abc"), RECEIVED, 0, 1)])
        assert await connection.fetchval("SELECT max(run) FROM cluster_job_commands") == 2
