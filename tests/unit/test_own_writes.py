"""A caller reads what it has written, or learns in time that it cannot yet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.decisions.desk import DecisionDesk
from app.decisions.draft import Draft
from app.decisions.early import Refused
from bridges.messages import Message
from projections.arrivals import TooManyWaiting
from projections.decision_reader import ClusterNow, DecisionRow, Standing
from projections.own_writes import JobUnfinished, JobUnknown, NotReached
from projections.read_through import Read
from schemas.decisions import Rename
from schemas.headers import utc_now
from schemas.pet_keys import PetKey
from schemas.topics import Topics
from tests.unit.read_rig import PET, Reads, eventually

LONG = 60.0
"""Seconds that no test waits for."""


@pytest.fixture
async def reads() -> Reads:
    return Reads()


def begun(reads: Reads, seconds: float = LONG, **conditions: Any) -> asyncio.Task[Read]:
    return asyncio.create_task(reads.own_writes.read(PET, seconds=seconds, **conditions))


async def until_asked(reads: Reads, times: int = 1) -> None:
    """Until so many more questions than now have been put to the store."""
    before = reads.store.questions.calls
    await eventually(lambda: reads.store.questions.calls >= before + times)


async def test_a_cached_answer_that_will_do_asks_the_store_nothing(reads: Reads) -> None:
    reads.cached(7)
    assert (await reads.own_writes.read(PET, at_least=7, seconds=0)).origin == "cache"
    assert (reads.store.reads.calls, reads.store.questions.calls) == (0, 0)


async def test_the_store_is_asked_where_the_cache_is_behind(reads: Reads) -> None:
    reads.cached(6)
    reads.store.last = 7
    read = await reads.own_writes.read(PET, at_least=7, seconds=0)
    assert (read.version, read.origin, read.why) == (7, "store", "behind")


async def test_a_version_is_waited_for(reads: Reads) -> None:
    reads.cached(6)
    reads.store.last = 6
    waiting = begun(reads, at_least=8)
    await until_asked(reads)
    reads.store.last = 7
    await until_asked(reads, 2)
    assert not waiting.done()
    reads.store.last = 8
    assert (await waiting).version == 8


async def test_a_pets_first_version_is_waited_for(reads: Reads) -> None:
    waiting = begun(reads, at_least=1)
    await until_asked(reads)
    reads.store.last = 1
    assert (await waiting).version == 1


async def test_a_version_that_does_not_come_in_time_is_told_with_the_present_one(reads: Reads) -> None:
    reads.store.last = 6
    for seconds in (0, 0.02):
        with pytest.raises(NotReached) as missed:
            await reads.own_writes.read(PET, at_least=7, seconds=seconds)
        assert missed.value.version == 6


async def test_a_pet_without_clusters_is_told_as_one_when_the_wait_is_over(reads: Reads) -> None:
    read = await reads.own_writes.read(PET, at_least=1, seconds=0.02)
    assert (read.answer, read.version) == (None, 0)


async def test_a_query_that_began_before_the_version_came_is_not_taken_for_it(reads: Reads) -> None:
    reads.store.last = 6
    late = begun(reads, at_least=7)
    await until_asked(reads)
    reads.store.reads.opened.clear()
    reads.cache.held.clear()
    begun_before = reads.store.reads.calls
    early = asyncio.create_task(reads.answers.read(PET))  # its snapshot has version 6
    await eventually(lambda: reads.store.reads.calls > begun_before)
    reads.store.last = 7
    await eventually(lambda: not reads.arrivals._waiters)
    assert not late.done()
    reads.store.reads.opened.set()
    assert (await early).version == 6
    assert (await late).version == 7


async def test_however_many_wait_the_store_is_asked_once_a_round(reads: Reads) -> None:
    reads.store.last = 6
    reads.store.questions.opened.clear()
    waiting = [begun(reads, at_least=7) for _ in range(200)]
    await eventually(lambda: len(reads.arrivals._waiters) == 200)
    reads.store.last = 7
    reads.store.questions.opened.set()
    assert {read.version for read in await asyncio.gather(*waiting)} == {7}
    # Two: those who came while the first question was under way are answered by the next.
    assert reads.store.questions.calls <= 2


async def test_who_comes_while_a_question_is_under_way_is_answered_by_the_next(reads: Reads) -> None:
    reads.store.last = 6
    reads.store.questions.opened.clear()
    loop = asyncio.get_running_loop()
    early = asyncio.create_task(reads.arrivals.version(PET, 6, loop.time()))
    await eventually(lambda: reads.store.questions.calls == 1)
    reads.store.last = 7
    late = asyncio.create_task(reads.arrivals.version(PET, 7, loop.time()))
    await eventually(lambda: len(reads.arrivals._waiters) == 2)
    reads.store.questions.opened.set()
    assert (await early, await late) == (6, 7)


async def test_who_leaves_is_forgotten_and_the_others_go_on(reads: Reads) -> None:
    reads.store.last = 6
    waiting = [begun(reads, at_least=7) for _ in range(3)]
    await eventually(lambda: len(reads.arrivals._waiters) == 3)
    waiting[0].cancel()
    await asyncio.wait({waiting[0]})
    assert len(reads.arrivals._waiters) == 2
    reads.store.last = 7
    assert [(await each).version for each in waiting[1:]] == [7, 7]
    await eventually(lambda: reads.arrivals._asking is None or reads.arrivals._asking.done())
    before = reads.store.questions.calls
    await asyncio.sleep(0.01)
    assert reads.store.questions.calls == before, "nobody waits, and the store is still asked"


async def test_one_more_than_may_wait_is_refused() -> None:
    reads = Reads(most_waiting=2)
    reads.store.last = 6
    waiting = [begun(reads, at_least=7) for _ in range(2)]
    await eventually(lambda: len(reads.arrivals._waiters) == 2)
    with pytest.raises(TooManyWaiting):
        await reads.own_writes.read(PET, at_least=7, seconds=LONG)
    reads.store.last = 7
    await asyncio.gather(*waiting)


async def test_a_store_that_fails_is_told_to_all_who_wait(reads: Reads) -> None:
    reads.store.last = 6
    waiting = [begun(reads, at_least=7) for _ in range(3)]
    await eventually(lambda: len(reads.arrivals._waiters) == 3)
    reads.store.shut(ConnectionResetError("cut off"))
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionResetError] * 3


# ---- jobs


async def test_the_answer_behind_a_jobs_end_has_its_version(reads: Reads) -> None:
    reads.cached(6)
    reads.store.last = 6
    reads.store.end("job_1", "processing")
    waiting = begun(reads, job_id="job_1")
    await until_asked(reads, 2)
    assert not waiting.done()
    reads.store.last = 7
    reads.store.end("job_1", "succeeded", 7)
    read = await waiting
    assert (read.version, read.job) == (7, "succeeded")


async def test_a_job_appears_a_moment_after_it_was_accepted(reads: Reads) -> None:
    reads.store.last = 1
    waiting = begun(reads, job_id="job_1")
    await until_asked(reads, 2)
    assert not waiting.done()
    reads.store.end("job_1", "succeeded", 1)
    assert (await waiting).job == "succeeded"


async def test_a_failed_job_is_an_end_and_the_answer_is_the_present_one(reads: Reads) -> None:
    reads.cached(6)
    reads.store.end("job_1", "failed", 6)
    read = await reads.own_writes.read(PET, job_id="job_1", seconds=LONG)
    assert (read.version, read.job, read.origin) == (6, "failed", "cache")


async def test_the_only_job_of_a_pet_that_failed_has_left_no_clusters(reads: Reads) -> None:
    reads.store.end("job_1", "failed", 0)
    read = await reads.own_writes.read(PET, job_id="job_1", seconds=LONG)
    assert (read.answer, read.job) == (None, "failed")


async def test_a_job_that_nobody_knows_is_told_when_the_wait_is_over(reads: Reads) -> None:
    reads.cached(6)
    for seconds in (0, 0.02):
        with pytest.raises(JobUnknown):
            await reads.own_writes.read(PET, job_id="job_1", seconds=seconds)


async def test_a_job_that_goes_on_is_told_with_its_state(reads: Reads) -> None:
    reads.cached(6)
    reads.store.end("job_1", "queued")
    with pytest.raises(JobUnfinished) as unfinished:
        await reads.own_writes.read(PET, job_id="job_1", seconds=0.02)
    assert unfinished.value.state == "queued"


async def test_a_job_and_a_version_have_both_to_be_there(reads: Reads) -> None:
    reads.store.last = 7
    reads.store.end("job_1", "succeeded", 7)
    waiting = begun(reads, job_id="job_1", at_least=8)
    await until_asked(reads, 2)
    assert not waiting.done()
    reads.store.last = 8
    read = await waiting
    assert (read.version, read.job) == (8, "succeeded")


async def test_nothing_is_waited_for_while_the_store_is_known_to_be_away(reads: Reads) -> None:
    reads.cached(6)
    reads.store.shut(ConnectionRefusedError("away"))
    await reads.answers.start()
    try:
        await eventually(lambda: reads.answers._store_watch.away)
        asked = reads.store.questions.calls
        for conditions in ({"at_least": 7}, {"job_id": "job_1"}):
            with pytest.raises(ConnectionError, match="Postgres has not answered for"):
                await reads.own_writes.read(PET, seconds=LONG, **conditions)
        assert reads.store.questions.calls == asked
        assert (await reads.own_writes.read(PET, at_least=6, seconds=LONG)).origin == "stale"
    finally:
        await reads.answers.stop()


# ---- decisions


def settled(decision_id: str) -> DecisionRow:
    return DecisionRow(
        pet_id=PET, decision_id=decision_id, kind="rename", arguments={"cluster": f"{PET}-cluster-0", "name": "Rex"},
        expected_version=1, who="ann", why="so", state="accepted", version=2, code=None, reason=None, cluster=None,
        images=0, undone_by=None, decided_at="t", log_partition=0, log_offset=1,
    )  # fmt: skip


async def test_decisions_are_waited_for_together_each_by_its_id(reads: Reads) -> None:
    waits = {
        name: asyncio.create_task(reads.own_writes.decision(PET, name, seconds=LONG)) for name in ("d-1", "d-2", "d-3")
    }
    await until_asked(reads, 2)
    reads.store.settled = {(PET, name): settled(name) for name in ("d-1", "d-2")}
    asked = reads.store.questions.calls
    rows = [await waits[name] for name in ("d-1", "d-2")]
    assert [row and row.decision_id for row in rows] == ["d-1", "d-2"]
    assert reads.store.questions.calls <= asked + 2, "one question for all of them"
    assert not waits["d-3"].done()
    waits["d-3"].cancel()
    assert await reads.own_writes.decision(PET, "d-4", seconds=0) is None, "the wait is over"


# ---- the desk


class NoRows:
    """A Postgres that has an album, with clusters that ended at a version, if any, and no decision."""

    def __init__(self, ended: int | None = None) -> None:
        self.ended = ended

    async def find(self, pet_id: str, decision_id: str) -> None:
        return None

    async def standing(self, pet_id: str, clusters: Any, images: Any) -> Standing:
        return Standing(1, dict.fromkeys(clusters, ClusterNow(self.ended, None)), {})


async def new_key(pet_id: str, now: str, publish: Callable[[PetKey], Awaitable[None]]) -> PetKey:
    key = PetKey(key_id="k", pet_id=pet_id, created_at=now, secret=bytes(32))
    await publish(key)
    return key


def desk(reads: Reads, store: Any, send: Any) -> DecisionDesk:
    return DecisionDesk(
        store, reads.own_writes, send, new_key, topics=Topics(""), clock=utc_now, ce_source="/web", timeout=5, wait=LONG
    )


RENAME = Draft(PET, "d-1", True, "rename", Rename(0, "Rex"), 1, "ann", "so")


async def test_a_decision_that_is_in_the_log_when_postgres_goes_away_is_accepted(reads: Reads) -> None:
    sent: list[Message] = []

    async def send(messages: Sequence[Message]) -> None:
        sent.extend(messages)
        reads.store.shut(OSError("away"))

    assert await desk(reads, NoRows(), send).decide(RENAME) == (None, False)
    assert [message.topic for message in sent] == ["media.pet-keys", "media.pet-log"], "its key is durable before it"


async def test_a_repeat_that_its_own_version_overtook_is_told_what_became_of_it(reads: Reads) -> None:
    """The version is a message, what became of the decision the next one: between them it looks impossible."""

    async def send(messages: Sequence[Message]) -> None:
        raise AssertionError("nothing is written again")

    repeated = asyncio.create_task(desk(reads, NoRows(ended=1), send).decide(RENAME))
    await until_asked(reads)
    reads.store.settled[PET, "d-1"] = settled("d-1")
    assert await repeated == (settled("d-1"), True)
    with pytest.raises(Refused, match="ended with version 1"):
        await desk(reads, NoRows(ended=1), send).decide(replace(RENAME, may_be_known=False))
