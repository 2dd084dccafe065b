"""A job's row says the same whatever order its messages come in; lists of jobs are paged."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridges.translate import parse_job
from projections.jobs import RecordedCommand, record_commands, record_statuses
from projections.reader import MAX_PAGE, ClusterReader, JobRow
from schemas.commands import EmbedImages
from schemas.errors import InvalidInput
from schemas.headers import timestamp
from schemas.insights import Insight
from schemas.public import FailedImageReport, JobState, JobStatus
from tests.integration.projections.samples import START

RECEIVED = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
LOST_JOBS = (Path(__file__).parents[3] / "docs/operations/lost_jobs.sql").read_text()
MISSING = FailedImageReport("i9", "not_found", "404 from storage")


def at(seconds: float) -> str:
    return timestamp(START + timedelta(seconds=seconds))


def queued(attempt: int = 1, part: int = 1, job_id: str = "job_1", seconds: float = 0, **more: Any) -> EmbedImages:
    values: dict[str, Any] = {
        "pet_id": "101", "job_id": job_id, "part": part, "parts": 2, "image_ids": (f"i{part}",), "job_images": 128,
        "reason": "insights_ready", "attempt": attempt, "enqueued_at": at(seconds), "source": "redis:s/1-0",
    }  # fmt: skip
    return EmbedImages(**(values | more))


def state(status: JobState, seconds: float, attempt: int = 1, job_id: str = "job_1", **more: Any) -> JobStatus:
    return JobStatus(pet_id="101", job_id=job_id, status=status, at=at(seconds), attempt=attempt, **more)


def named(message: EmbedImages | JobStatus, job_id: str) -> EmbedImages | JobStatus:
    return msgspec.structs.replace(message, job_id=job_id)


async def record(pool: Any, *messages: EmbedImages | JobStatus) -> None:
    async with pool.acquire() as connection, connection.transaction():
        for message in messages:
            if isinstance(message, EmbedImages):
                await record_commands(connection, [RecordedCommand(message, RECEIVED)])
            else:
                await record_statuses(connection, [message])


async def job(reader: ClusterReader, job_id: str = "job_1") -> JobRow:
    (row,) = await reader.jobs_by_id(job_id)
    return row


async def test_a_job_goes_from_queued_to_succeeded(pool: Any, reader: ClusterReader) -> None:
    await record(pool, queued(), queued(part=2))
    row = await job(reader)
    assert (row.status, row.attempts, row.image_count, row.reason, row.source) == (
        "queued", 1, 128, "insights_ready", "redis:s/1-0",
    )  # fmt: skip
    assert (row.enqueued_at, row.started_at, row.completed_at) == (at(0), None, None)

    await record(pool, state("processing", 1), state("processing", 2))
    row = await job(reader)
    assert (row.status, row.started_at, row.completed_at) == ("processing", at(1), None)

    await record(pool, state("succeeded", 3, version=7, placed=120, known=7, failed=1, failed_images=(MISSING,)))
    row = await job(reader)
    assert (row.status, row.completed_at, row.version, row.last_error) == ("succeeded", at(3), 7, None)
    assert (row.placed, row.known, row.failed, row.failed_images) == (120, 7, 1, (MISSING,))

    await record(pool, state("processing", 1), queued(), queued(part=2))
    assert await job(reader) == row


async def test_a_job_goes_back_with_a_higher_try_until_its_run_has_ended(pool: Any, reader: ClusterReader) -> None:
    await record(pool, queued(), state("processing", 1), queued(attempt=2, seconds=2))
    row = await job(reader)
    assert (row.status, row.attempts, row.enqueued_at) == ("queued", 2, at(0))
    await record(pool, state("processing", 3), queued(seconds=3))
    assert (await job(reader)).attempts == 2

    await record(pool, state("failed", 4, attempt=1, error="no image\x00 left", failed=128))
    ended = await job(reader)
    assert (ended.status, ended.attempts, ended.completed_at, ended.failed) == ("failed", 1, at(4), 128)
    assert ended.last_error == "no image\N{REPLACEMENT CHARACTER} left"

    # A command that is read again behind a crash may be tried again: the run has ended, and nothing ends it once more.
    await record(pool, queued(attempt=2, seconds=5), state("processing", 6, attempt=2), queued(attempt=3, seconds=7))
    assert await job(reader) == ended


async def test_a_job_that_a_restored_kafka_lost_says_again_what_it_said_of_its_images(pool: Any) -> None:
    parts = [
        queued(parts=3, image_ids=("a", "b"), insights={"b": Insight(quality_score=0.5, label="Walks")}),
        queued(part=2, parts=3, image_ids=("c",), insights={"c": Insight(taken_at="2026-05-01T09:00:00")}),
        queued(part=3, parts=3, image_ids=("d",)),
    ]
    plain = queued(job_id="job_2", parts=1, image_ids=("a",))
    async with pool.acquire() as connection, connection.transaction():
        await record_commands(connection, [RecordedCommand(each, RECEIVED, 0, 5) for each in (*parts, plain)])
        await connection.execute(
            "INSERT INTO projection_positions (projection, topic, partition, next_offset)"
            " VALUES ('postgres', 'media.jobs', 0, 0)"
        )
        told, untold = [json.loads(row["job"]) for row in await connection.fetch(LOST_JOBS)]
    job = parse_job(told, default_job_id="none")
    assert (job.job_id, job.image_ids) == ("job_1", ("a", "b", "c", "d"))
    assert job.insights == parts[0].insights | parts[1].insights
    assert "images" not in untold["payload"]
    assert parse_job(untold, default_job_id="none").image_ids == ("a",)


HISTORY: list[EmbedImages | JobStatus] = [
    queued(),
    queued(part=2, seconds=0.5),
    state("processing", 1),
    state("processing", 1.5),
    queued(attempt=2, seconds=3, image_ids=("i1",)),
    state("processing", 4, attempt=2),
    state("succeeded", 5, attempt=2, version=3, placed=100, known=28),
    queued(attempt=3, seconds=6, image_ids=("i1",)),
    state("processing", 7, attempt=3),
]


@pytest.mark.parametrize("length", range(1, len(HISTORY) + 1))
async def test_messages_in_any_order_and_repeated_give_one_row(pool: Any, reader: ClusterReader, length: int) -> None:
    """Of every beginning of a job's history; `job_0` is told it in order."""
    rows = []
    for trial in range(20):
        messages = [named(message, f"job_{trial}") for message in HISTORY[:length]]
        if trial:
            shuffler = random.Random(f"{length}/{trial}")
            messages += shuffler.choices(messages, k=2)
            shuffler.shuffle(messages)
        await record(pool, *messages)
        row = await job(reader, f"job_{trial}")
        rows.append(msgspec.structs.replace(row, id="", job_id="", cursor=""))
    assert rows == [rows[0]] * len(rows)


async def test_commands_are_kept_as_they_were_asked(pool: Any) -> None:
    asked = queued(metadata={"who": "auth\x00service"})
    await record(pool, asked, queued(part=2), asked, queued(attempt=2))
    rows = await pool.fetch(
        "SELECT part, attempt, parts, image_count, command FROM cluster_job_commands ORDER BY attempt, part"
    )
    assert [tuple(row)[:4] for row in rows] == [(1, 1, 2, 1), (2, 1, 2, 1), (1, 2, 2, 1)]
    kept = msgspec.json.decode(rows[0]["command"], type=EmbedImages)
    assert kept == msgspec.structs.replace(asked, metadata={"who": "auth\N{REPLACEMENT CHARACTER}service"})


async def test_a_job_that_names_no_image_counts_what_was_found(pool: Any, reader: ClusterReader) -> None:
    await record(pool, queued(parts=1, image_ids=(), job_images=0), state("succeeded", 2, placed=5, known=2, failed=1))
    assert (await job(reader)).image_count == 8


async def test_a_command_without_a_time_counts_from_its_arrival(pool: Any, reader: ClusterReader) -> None:
    await record(pool, queued(enqueued_at=""))
    assert (await job(reader)).enqueued_at == timestamp(RECEIVED)


async def test_jobs_of_a_pet_are_paged_newest_first(pool: Any, reader: ClusterReader) -> None:
    # Pairs that share a moment: the cursor must neither skip nor repeat one of them.
    await record(pool, *(queued(job_id=f"job_{number}", seconds=number // 2) for number in range(9)))
    await record(pool, queued(pet_id="102", job_id="other"))
    everything = await reader.jobs_of_pet("101", MAX_PAGE)
    assert [row.enqueued_at for row in everything] == [at(second) for second in (4, 3, 3, 2, 2, 1, 1, 0, 0)]
    assert {row.job_id for row in everything} == {f"job_{number}" for number in range(9)}

    pages: list[list[JobRow]] = [await reader.jobs_of_pet("101", 2)]
    while pages[-1]:
        pages.append(await reader.jobs_of_pet("101", 2, pages[-1][-1].cursor))
    assert [len(page) for page in pages] == [2, 2, 2, 2, 1, 0]
    assert [row for page in pages for row in page] == everything


async def test_one_job_id_may_belong_to_several_pets(pool: Any, reader: ClusterReader) -> None:
    await record(pool, queued(), queued(pet_id="102", seconds=1))
    assert [row.pet_id for row in await reader.jobs_by_id("job_1")] == ["102", "101"]
    assert [row.pet_id for row in await reader.jobs_by_id("job_1", "101")] == ["101"]
    assert await reader.jobs_by_id("job_1", "103") == []
    assert await reader.jobs_by_id("job_2") == []


async def test_a_job_is_found_however_many_pets_have_one_with_its_id(pool: Any, reader: ClusterReader) -> None:
    """Look-ups without a pet are cut at 100 rows; the pet's own job must not be cut off with them."""
    await record(pool, *(queued(pet_id=f"pet-{number}", seconds=number) for number in range(101)))
    assert len(await reader.jobs_by_id("job_1")) == 100
    assert [row.pet_id for row in await reader.jobs_by_id("job_1", "pet-0")] == ["pet-0"]


@pytest.mark.parametrize("cursor", ["x", "!!!!", "MTIz", "MS96eno", "OTk5OTk5OTk5OTk5OTk5OTk5OTkvMDA"])
async def test_a_foreign_cursor_is_refused(pool: Any, cursor: str) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        await ClusterReader(pool).jobs_of_pet("101", 10, cursor)


@pytest.mark.parametrize("limit", [0, MAX_PAGE + 1])
async def test_a_page_has_bounds(pool: Any, limit: int) -> None:
    with pytest.raises(InvalidInput, match="limit"):
        await ClusterReader(pool).jobs_of_pet("101", limit)


async def test_a_ping_returns_or_raises(database_url: str, pool: Any) -> None:
    await ClusterReader(pool).ping()
    await pool.close()
    with pytest.raises(Exception, match="closed"):
        await ClusterReader(pool).ping()
