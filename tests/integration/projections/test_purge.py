"""A purge in Postgres: all rows of the pet go at once, a receipt stays, numbers go on, what comes late is kept out."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from projections.erasure import erase_pet
from projections.history import HistoryReader
from projections.jobs import RecordedCommand, record_commands
from projections.missing import Missing
from projections.pins import add_pin
from projections.postgres import Applied, Gap, Purged
from projections.purges import PurgeRecords
from projections.reader import ClusterReader
from schemas.errors import InvalidInput
from tests.integration.projections.letters import action_on, letter, write
from tests.integration.projections.purge_samples import (
    ACCEPTED,
    EMPTY,
    OTHER,
    PET,
    PURGED,
    asked,
    at,
    command,
    counts,
    erased,
    fill,
    project,
    status,
)
from tests.integration.projections.samples import member, version


async def test_every_row_of_the_pet_goes_and_no_other(pool: Any) -> None:
    await fill(pool)
    await fill(pool, OTHER)
    before, others = await counts(pool), await counts(pool, OTHER)
    assert all(before.values()), f"a table has no row to lose: {before}"

    await project(pool, asked(), erased(65))
    assert await counts(pool) == EMPTY
    assert await counts(pool, OTHER) == others
    receipt = await PurgeRecords(pool).find(PET, "purge-1")
    assert receipt is not None
    assert receipt.removed is not None
    assert receipt.removed.postgres == before
    assert (receipt.status, receipt.last_version, receipt.who, receipt.why) == (
        *("purged", 65, "ann", "asked by the owner"),
    )
    assert (receipt.accepted_until, receipt.purged_at, receipt.log_offset) == (at(500), at(510), 77)


async def test_every_table_that_names_a_pet_is_emptied(pool: Any) -> None:
    """A table that a later release adds fails here until a purge knows it."""
    rows = await pool.fetch(
        "SELECT table_name FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'pet_id'"
    )
    assert {row["table_name"] for row in rows} == (EMPTY.keys() - {"cluster_job_commands"}) | {
        *("pet_purges", "purged_versions", "similar_pets"),
    }


async def test_a_repeat_keeps_the_first_receipt_and_deletes_what_came_back(pool: Any) -> None:
    await fill(pool)
    await project(pool, erased(65))
    first = await PurgeRecords(pool).find(PET, "purge-1")
    await pool.execute(
        "INSERT INTO cluster_summaries (pet_id, cluster_number, since_version, label, member_count, tightness)"
        " VALUES ($1, 0, 3, 'back', 1, 1)",
        PET,
    )
    await project(pool, erased(65), asked())
    assert await counts(pool) == EMPTY
    assert await PurgeRecords(pool).find(PET, "purge-1") == first


async def test_numbers_go_on_behind_the_purge_and_older_versions_change_nothing(pool: Any) -> None:
    album = await fill(pool)
    late = album.draw()
    await project(pool, erased(66))
    assert await project(pool, version(PET, 3), late) == [Purged(66), Purged(66)]
    assert await counts(pool) == EMPTY
    assert await project(pool, version(PET, 68)) == [Gap(66)]
    assert await project(pool, version(PET, 67, (member("new", -1),)), version(PET, 66)) == [Applied(67), Purged(66)]
    answer = await ClusterReader(pool).latest_answer(PET)
    assert answer is not None
    assert (answer.version, answer.unclustered) == (67, ("new",))
    # What is sent again of the purge leaves the pet's new life alone.
    await project(pool, erased(66))
    assert await ClusterReader(pool).latest_answer(PET) == answer


async def test_a_pet_without_versions_can_be_purged_and_begins_at_one(pool: Any) -> None:
    await project(pool, command(), erased(0))
    assert await counts(pool) == EMPTY
    assert await project(pool, version(PET, 1)) == [Applied(1)]


async def test_a_second_purge_has_a_receipt_of_its_own(pool: Any) -> None:
    await fill(pool, versions=3)
    await project(pool, erased(3), version(PET, 4, (member("new", -1),)))
    again = erased(4, "purge-2", time=at(900), accepted_until=at(890))
    await project(pool, again)
    assert await counts(pool) == EMPTY
    second = await PurgeRecords(pool).find(PET, "purge-2")
    assert second is not None
    assert second.removed is not None
    assert second.removed.postgres["cluster_members"] == 1
    assert await PurgeRecords(pool).position(PET) == (1, 4)
    assert await project(pool, version(PET, 4), version(PET, 5)) == [Purged(4), Applied(5)]


async def test_what_was_accepted_before_is_not_written_again(pool: Any) -> None:
    await project(pool, erased(5))
    # A command, also one that the sweeper or a requeue submits again; ends, and embed's word on ignored commands.
    await project(pool, command(), command("job_3", 500), command(run=2, requeue="r"), status(), status(seconds=505))
    await project(
        pool, status("job_9", "processing", 900, enqueued_at=at(100)), status("job_9", seconds=900, version=5)
    )
    await write(pool, letter("lost", seconds=505), action_on("requeue", "lost", seconds=509))
    assert await counts(pool) == EMPTY


async def test_what_is_accepted_later_is_written(pool: Any) -> None:
    await project(pool, erased(5))
    await project(pool, command("job_4", 501), status("job_4", "processing", 506, enqueued_at=at(501)))
    await project(pool, status("job_4", seconds=509, version=6, placed=2), status("job_5", "failed", 520))
    await write(pool, letter("kept", seconds=520, job_id="job_5"), action_on("discard", "kept", seconds=530))
    rows = await pool.fetch("SELECT job_id, status::text FROM cluster_jobs ORDER BY job_id")
    assert [tuple(row) for row in rows] == [("job_4", "succeeded"), ("job_5", "failed")]
    found = await counts(pool)
    assert (found["cluster_job_commands"], found["dead_letters"], found["dead_letter_actions"]) == (1, 1, 1)


async def test_an_old_command_of_a_job_that_was_asked_for_again_stays_out(pool: Any) -> None:
    await project(pool, erased(5), command("job_1", 600, part=2, parts=2))
    await project(pool, command("job_1", 100))
    rows = await pool.fetch("SELECT part, enqueued_at FROM cluster_job_commands")
    assert [(row["part"], row["enqueued_at"]) for row in rows] == [(2, ACCEPTED + timedelta(seconds=100))]


async def test_a_request_alone_changes_nothing_but_is_told(pool: Any) -> None:
    await fill(pool)
    before = await counts(pool)
    await project(pool, asked(), asked(who="bob"), command("job_3", 300))
    assert await counts(pool) == before | {"cluster_jobs": 3, "cluster_job_commands": 3}
    pending = await PurgeRecords(pool).find(PET, "purge-1")
    assert pending is not None
    assert (pending.status, pending.who, pending.removed, pending.purged_at) == ("pending", "ann", None, None)
    assert await PurgeRecords(pool).find(OTHER, "purge-1") is None


async def test_a_writer_of_the_same_partition_cannot_pass_the_purge_unseen(pool: Any) -> None:
    """Behind a rebalance two projectors may hold the pet's partition on two topics for a moment."""
    await pool.execute("INSERT INTO projection_positions VALUES ('postgres', 'jobs', 0, 0), ('postgres', 'v', 0, 0)")
    async with pool.acquire() as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("UPDATE projection_positions SET next_offset = 1 WHERE topic = 'jobs'")
        await record_commands(other, [RecordedCommand(command(), ACCEPTED, 0, 1)])
        purge = asyncio.create_task(project(pool, erased(5)))
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        async with asyncio.timeout(20):
            while not await pool.fetchval(waiting):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)
        await transaction.commit()
    await purge
    assert await counts(pool) == EMPTY


async def test_a_purge_that_is_cut_off_has_done_nothing(pool: Any) -> None:
    await fill(pool)
    before = await counts(pool)
    with pytest.raises(asyncpg.PostgresError, match="division"):
        await erase_and_fail(pool)
    assert await counts(pool) == before
    assert await PurgeRecords(pool).find(PET, "purge-1") is None


async def erase_and_fail(pool: Any) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await erase_pet(connection, erased(65))
        await connection.execute("SELECT 1 / 0")


async def test_the_past_of_a_purged_pet(pool: Any) -> None:
    await fill(pool, versions=5)
    await project(pool, erased(5))
    history = HistoryReader(pool)
    for question in (history.answer_at(PET, 3), history.answer_as_of(PET, PURGED), history.versions(PET, 10)):
        with pytest.raises(Missing) as missing:
            await question
        assert missing.value.cause == "pet"

    await project(pool, version(PET, 6, time=at(600)))
    causes = []
    for question in (
        *(history.answer_at(PET, 3), history.answer_at(PET, 7), history.answer_as_of(PET, PURGED - timedelta(1))),
        history.answer_as_of(PET, PURGED + timedelta(seconds=1)),
    ):
        with pytest.raises(Missing) as missing:
            await question
        causes.append(missing.value.cause)
    assert causes == ["purged", "version", "purged", "version"]
    assert (await history.answer_as_of(PET, PURGED + timedelta(days=1))).version == 6


async def test_a_purged_version_cannot_be_pinned(pool: Any) -> None:
    await fill(pool, versions=5)
    await project(pool, erased(5))
    with pytest.raises(InvalidInput, match="has none"):
        await add_pin(pool, PET, 3, who="ann", why="too late")
    await project(pool, version(PET, 6))
    with pytest.raises(InvalidInput, match="must be 6 to 6"):
        await add_pin(pool, PET, 3, who="ann", why="too late")
