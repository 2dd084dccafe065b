"""The fold's tables are built anew beside workers that fold, and take over without a message too many or too few."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError
from msgspec.structs import replace

from app.faust_apps import changelog_topic, group_id
from app.fold_generations import read_standing, record_generation
from app.local.kafka import KafkaServer
from app.prepare import create_topics
from app.rebuild.fold import build
from app.rebuild.fold import rebuild as fold_rebuild
from app.rebuild.fold.job import FoldJob
from app.rebuild.run import run_fold
from app.roles.fold_generation import check_turn
from app.settings import Settings
from app.worker_processes import Workers
from projections import log_reading
from projections.fold_state import FoldState
from projections.shadow import runs
from schemas.errors import StopProcess
from schemas.generations import FIRST, Generation
from schemas.pet_keys import Destroyed, PetKey, encode_key
from schemas.topics import Topics
from tables.replay import LogReplay
from tables.rows import decode_head, encode, head_key, is_head
from tests.integration.generations_rig import FoldRig, assert_same_state, partition_of


@pytest.fixture
async def rig(
    kafka: KafkaServer, topics: Topics, database_url: str, redis_url: str, tmp_path: Path
) -> AsyncIterator[FoldRig]:
    made = FoldRig(kafka.bootstrap_servers, topics, database_url, tmp_path, redis_url)
    await made.prepare()
    yield made
    await made.close()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Partitions are worked on in this process."""

    async def run(_: Workers, work: Any, jobs: list[Any], told: Any = lambda mark: None) -> list[Any]:
        return [await work(job, told) for job in jobs]

    monkeypatch.setattr(Workers, "run", run)


async def done(process: asyncio.subprocess.Process) -> list[dict[str, Any]]:
    """The steps of a rebuild that ends well."""
    out, error = await process.communicate()
    assert process.returncode == 0, (out.decode(), error.decode())
    return [json.loads(line) for line in out.splitlines()]


async def test_killed_in_the_middle_and_handed_over_under_load(rig: FoldRig) -> None:
    for worker in ("one", "two"):
        rig.keep_worker(worker)
    await rig.publish(300)
    await rig.until_folded()

    killed = await rig.rebuild("--processes", "1")
    await rig.until_rows_come(2)
    killed.kill()  # its workers find out by themselves
    out, _ = await killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert b"compared" not in out, "it was not in the middle"

    async with asyncio.TaskGroup() as group:
        jobs = group.create_task(_jobs_all_the_time(rig))
        built = await done(await rig.rebuild())
        assert built[-1] == {"step": "compared", "pets": 12, "differing": 0}
        told = (await done(await rig.rebuild("--swap")))[-1]
        assert (told["step"], told["generation"]) == ("handed over", 2)
        jobs.cancel()
    await rig.publish(30)
    await rig.until_folded()
    assert (await rig.group()).endswith("media-fold-2")
    await rig.audit()
    await rig.audit_hand_over()


async def _jobs_all_the_time(rig: FoldRig) -> None:
    while True:
        await rig.publish(3)
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("lost", [False, True])
async def test_a_build_that_is_cut_off_leaves_no_row_too_many(
    rig: FoldRig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lost: bool
) -> None:
    monkeypatch.setattr(build, "BATCH_BYTES", 1)
    monkeypatch.setattr(log_reading, "POLL_RECORDS", 20)
    await rig.publish(200, pets=3)
    await create_topics(rig.settings, (changelog_topic(rig.settings, "fold", 2),))
    number = partition_of("pet-1")
    log = [record for record in await rig.read(rig.topics.pet_log.name) if record.partition == number]
    changelog = changelog_topic(rig.settings, "fold", 2).name
    folder = tmp_path / "rows"
    brokers, topics = rig.settings.kafka_bootstrap_servers, rig.topics
    names = (topics.pet_log.name, topics.pet_keys.name, changelog, changelog)
    job = FoldJob(brokers, *names, number, len(log), folder)
    write = FoldState.write
    for batches in (1, 2):
        left = iter(range(batches))

        def cut(self: FoldState, *arguments: Any, left: Any = left) -> None:
            if next(left, None) is None:
                raise InterruptedError  # what the batch has changed is published, but not in the rows
            write(self, *arguments)

        monkeypatch.setattr(FoldState, "write", cut)
        with pytest.raises(InterruptedError):
            await build.build_partition(job)
    monkeypatch.setattr(FoldState, "write", write)
    if lost:
        shutil.rmtree(folder)
    mark = await build.build_partition(job)
    assert mark.next_offset == len(log)

    replay = LogReplay(number)
    for record in log:
        replay.apply(record.offset, record.key, record.value)
    published: dict[bytes, bytes] = {}
    for record in await rig.read(changelog):
        if record.value is None:
            published.pop(record.key, None)
        else:
            published[record.key] = record.value
    assert published == replay.rows


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("brought_forward", [False, True])
async def test_rows_of_a_pet_that_is_purged_between_two_runs_do_not_stay(
    rig: FoldRig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, brought_forward: bool, lost: bool
) -> None:
    number, changelog = partition_of("pet-0"), changelog_topic(rig.settings, "fold", 2)
    key = PetKey(key_id="k1", pet_id="pet-0", secret=bytes(range(32)))
    await create_topics(rig.settings, (changelog,))
    await rig.write(rig.topics.pet_keys.name, {"key": b"k1", "value": encode_key(key), "partition": number})
    names = (rig.topics.pet_log.name, rig.topics.pet_keys.name, changelog.name, changelog.name)
    job = FoldJob(rig.settings.kafka_bootstrap_servers, *names, number, 0, tmp_path / "rows")

    async def build_all(restore_at: int = -1) -> int:
        end = len([each for each in await rig.read(rig.topics.pet_log.name) if each.partition == number])
        await build.build_partition(dataclasses.replace(job, end=end, restore_at=restore_at))
        return end

    begun = -1
    if brought_forward:
        await rig.publish(2, pets=1, key=key)
        begun = await build_all()
        shutil.rmtree(job.folder)
    await rig.publish(2, pets=1, key=key)
    with monkeypatch.context() as broken:
        broken.setattr(build, "in_order", _rows_then_cut)
        with pytest.raises(InterruptedError):
            await build_all(begun)
    assert [row for row in await rig.rows(2) if row.startswith(b"pet-0/i/")], "it has published rows"
    if lost:
        shutil.rmtree(job.folder)

    gone = replace(key, secret=b"", destroyed=Destroyed(purge_id="purge-1", last_version=9, next_cluster=9))
    await rig.write(rig.topics.pet_keys.name, {"key": b"k1", "value": encode_key(gone), "partition": number})
    await rig.purge("pet-0", "k1")
    at = await build_all(begun) - 1
    left = {row.decode() for row in await rig.rows(2) if row.startswith(b"pet-0/")}
    assert left == {"pet-0/h", f"pet-0/p/{at}", f"pet-0/c/{at}"}


def _rows_then_cut(changes: dict[bytes, bytes | None]) -> Iterator[tuple[bytes, bytes | None]]:
    """As `in_order`, but for the heads and what comes behind them."""
    yield from ((key, value) for key, value in changes.items() if value is not None and not is_head(key))
    raise InterruptedError


@pytest.mark.usefixtures("here")
async def test_other_versions_are_told_and_taken_only_when_the_operator_says_so(rig: FoldRig) -> None:
    await rig.publish(60)
    await rig.fold_without_workers()
    await _change_live_head(rig, "pet-4")
    work, steps = rig.work()
    assert await work.build() == 1
    right = decode_head((await rig.rows(2))[head_key("pet-4")]).state.version
    assert steps()[-1] == {
        "step": "differs", "pet": "pet-4", "parts": "version state", "version": right, "live_version": right + 1,
    }  # fmt: skip
    with pytest.raises(StopProcess, match=f"1 pets have other versions .* pet-4 has {right} instead of {right + 1}"):
        await work.swap()
    assert not (await read_standing(rig.settings)).handing_over
    assert await work.swap(accept_versions=True) == 2


async def _change_live_head(rig: FoldRig, pet: str) -> None:
    """As a fold with a bug would have left it: a version too many."""
    key, name = head_key(pet), changelog_topic(rig.settings, "fold").name
    record = next(each for each in reversed(await rig.read(name)) if each.key == key)
    head = decode_head(record.value)
    producer = AIOKafkaProducer(bootstrap_servers=rig.settings.kafka_bootstrap_servers)
    await producer.start()
    try:
        wrong = replace(head, state=replace(head.state, version=head.state.version + 1))
        await producer.send_and_wait(name, encode(wrong), key=key, partition=record.partition)
    finally:
        await producer.stop()


@pytest.mark.usefixtures("here")
async def test_a_generation_that_has_handed_over_is_brought_forward_and_takes_it_back(rig: FoldRig) -> None:
    work, steps = rig.work()
    await rig.publish(60)
    await rig.fold_without_workers(1)
    await work.build()
    assert await work.swap() == 2
    await rig.publish(150)
    await rig.fold_without_workers(2)
    for number in (1, 2):
        assert await work.roll_back() == number
        await check_turn(rig.settings, number)
        assert (await rig.group()).endswith("media-fold" if number == 1 else "media-fold-2")
        await rig.until_folded()  # it stands where the other one stood
        assert_same_state(await rig.rows(number), (await rig.offline()).rows)
    assert all(step["differing"] == 0 for step in steps() if step["step"] == "compared")
    assert await rig.read(rig.topics.pet_versions.name) == [], "nothing is sent"
    await work.give_up()
    with pytest.raises(StopProcess, match="nothing to go back to"):
        await work.roll_back()


class Killed(BaseException):
    """Nothing is done about it."""


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("step", ["wait_until_empty", "commit_for"])
async def test_a_hand_over_that_is_cut_off_goes_on(rig: FoldRig, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    work, steps = await rig.built(30)

    def cut(*_: Any, **__: Any) -> Any:
        raise Killed

    with monkeypatch.context() as broken:
        broken.setattr(f"app.rebuild.fold.rebuild.{step}", cut)
        with pytest.raises(Killed):
            await work.swap()
    found = await read_standing(rig.settings)
    assert (found.live.generation, found.handing_over) == (1, True)
    assert await work.swap() == 2
    assert "going on with a hand-over that was cut off" in [each["step"] for each in steps()]
    await rig.until_folded()
    await check_turn(rig.settings, 2)
    assert_same_state(await rig.rows(2), (await rig.offline()).rows)


@pytest.mark.usefixtures("here")
async def test_after_a_hand_over_that_was_killed_the_next_build_has_the_live_generation_fold_on(rig: FoldRig) -> None:
    work, steps = await rig.built(12)
    await record_generation(rig.settings, replace(await rig.under_way(), state="handing_over"))
    assert await work.build() == 0
    told = [each for each in steps() if each["step"] == "the hand-over was cut off, the live generation folds on"]
    assert [each["generation"] for each in told] == [1]
    await check_turn(rig.settings, 1)
    assert await work.swap() == 2


@pytest.mark.usefixtures("here")
async def test_ctrl_c_in_a_hand_over_leaves_the_live_generation_at_work(
    rig: FoldRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, steps = await rig.built(12)
    begun = asyncio.Event()

    async def waits(*_: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(fold_rebuild, "wait_until_empty", waits)
    handing_over = asyncio.create_task(work.swap())
    await asyncio.wait_for(begun.wait(), 60)
    assert (await read_standing(rig.settings)).handing_over
    handing_over.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handing_over
    assert steps()[-1]["step"] == "the hand-over was cut off, the live generation folds on"
    await check_turn(rig.settings, 1)


@pytest.mark.usefixtures("here")
async def test_a_hand_over_that_fails_leaves_the_live_generation_at_work(
    rig: FoldRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, _ = await rig.built(12)

    async def fails(*_: Any) -> None:
        raise BrokenProcessPool("out of memory")

    def no_more(*states: str) -> Any:
        async def record(settings: Settings, wanted: Generation) -> None:
            if wanted.state in states:
                raise KafkaConnectionError("away")
            await record_generation(settings, wanted)

        return record

    with monkeypatch.context() as broken:
        broken.setattr(fold_rebuild, "commit_for", fails)
        with pytest.raises(BrokenProcessPool):
            await work.swap()
        await check_turn(rig.settings, 1)
        broken.setattr(fold_rebuild, "record_generation", no_more("building"))
        with pytest.raises(StopProcess, match=r"nobody folds now: .*out of memory; then .*away.* Run `--swap`"):
            await work.swap()
    with monkeypatch.context() as broken:
        broken.setattr(fold_rebuild, "record_generation", no_more("live"))
        with pytest.raises(StopProcess, match=r"nobody folds now: .*away.* Run `--swap`"):
            await work.swap()
    assert (await read_standing(rig.settings)).handing_over
    assert await work.swap() == 2
    await check_turn(rig.settings, 2)


@pytest.mark.usefixtures("here")
async def test_a_process_that_is_killed_is_told_in_one_line(rig: FoldRig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def killed(*_: Any) -> None:
        raise BrokenProcessPool("it was terminated abruptly")

    monkeypatch.setattr(Workers, "run", killed)
    with pytest.raises(StopProcess, match="a process has ended, killed or out of memory: it was terminated"):
        await run_fold(rig.settings, "build", processes=1, as_json=True, accept_versions=False, out=io.StringIO())


@pytest.mark.usefixtures("here")
async def test_workers_that_do_not_end_keep_the_live_generation(rig: FoldRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold_rebuild, "MARGIN_SECONDS", 1.0)
    quick = ("shutdown_seconds", "kafka_session_timeout_seconds")
    monkeypatch.setattr(rig, "settings", rig.settings.model_copy(update=dict.fromkeys(quick, 0.1)))
    await rig.publish(12)
    await rig.fold_without_workers()
    work, _ = rig.work()
    assert await work.build() == 0
    group = group_id(rig.settings, "fold")
    stubborn = AIOKafkaConsumer(
        rig.topics.pet_log.name,
        bootstrap_servers=rig.settings.kafka_bootstrap_servers,
        group_id=group,
        group_instance_id="an-older-release",
        enable_auto_commit=False,
    )
    await stubborn.start()
    try:
        with pytest.raises(StopProcess, match=f"still fold for the group {group} .*: an-older-release"):
            await work.swap()
    finally:
        await stubborn.stop()
    await check_turn(rig.settings, 1)


@pytest.mark.usefixtures("here")
async def test_nobody_folds_while_a_hand_over_is_under_way(rig: FoldRig) -> None:
    await check_turn(rig.settings, 1)
    await record_generation(rig.settings, replace(FIRST, generation=2, state="building"))
    await check_turn(rig.settings, 1)
    await record_generation(rig.settings, replace(FIRST, generation=2, state="handing_over"))
    for number in (1, 2):
        with pytest.raises(StopProcess, match=f"generation {number} of the fold has handed over, or is about to"):
            await check_turn(rig.settings, number)
    work, _ = rig.work()
    await work.give_up()
    await check_turn(rig.settings, 1)
    await record_generation(rig.settings, replace(FIRST, generation=3))
    await check_turn(rig.settings, 3)
    with pytest.raises(StopProcess, match="generation 1"):
        await check_turn(rig.settings, 1)


@pytest.mark.usefixtures("here")
async def test_another_releases_tables_are_refused_and_given_up(rig: FoldRig) -> None:
    work, steps = await rig.built(12)
    await record_generation(rig.settings, replace(await rig.under_way(), release="0.0.9"))
    for refused in (work.build(), work.swap()):
        with pytest.raises(StopProcess, match=r"begun by release 0\.0\.9"):
            await refused
    await work.give_up()
    assert steps()[-1]["changelogs"] == changelog_topic(rig.settings, "fold", 2).name
    with pytest.raises(StopProcess, match="no tables that were built"):
        await work.swap()
    with pytest.raises(StopProcess, match="nothing to go back to"):
        await work.roll_back()
    await work.build()
    assert (await read_standing(rig.settings)).highest == 3, "a number is used once"


async def test_a_dry_run_says_what_it_would_do_and_does_nothing(rig: FoldRig) -> None:
    await rig.publish(90)
    told = await done(await rig.rebuild("--dry-run"))
    assert [each["step"] for each in told] == ["would read", "would write", "would take"]
    assert told[0]["events"] > 90
    assert told[1]["changelog_megabytes_about"] > 0
    found = await read_standing(rig.settings)
    assert (found.under_way, found.highest) == (None, 1)


async def test_one_rebuild_at_a_time(rig: FoldRig) -> None:
    connection = await asyncpg.connect(rig.env["DATABASE_URL"])
    try:
        assert await runs.take_turn(connection)
        work, _ = rig.work()
        with pytest.raises(StopProcess, match="another rebuild"):
            await work.build()
    finally:
        await connection.close()
