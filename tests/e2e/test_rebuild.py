"""A projection is built anew beside a running service, compared, swapped in under readers, and swapped back."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from app.progress import Display
from app.rebuild.estimate import estimate
from app.rebuild.place import Place
from app.rebuild.rebuild import Rebuild
from projections.cache import AnswerCache
from projections.fold_state import FoldState
from projections.shadow import runs
from projections.shadow.catch_up import BETWEEN, CatchUp
from schemas.errors import StopProcess
from tests.e2e.conftest import album_ids
from tests.e2e.service import REPOSITORY, Service

PETS = ("rex", "tom", "kit")


async def fill(service: Service, pets: tuple[str, ...], jobs: range) -> None:
    """Jobs of four photos each."""
    ids = album_ids()
    named = []
    for number in jobs:
        for pet in pets:
            named.append(f"{pet}-{number}")
            service.publish(pet, named[-1], ids[4 * number : 4 * number + 4])
    for job_id in named:
        assert (await service.job(job_id))["status"] == "succeeded"


def place(service: Service, tmp_path: Path) -> Place:
    cache = AnswerCache(Redis.from_url(service.redis_url), namespace=service.namespace, ttl_seconds=600)
    return Place(cache, service.database_url, service.bootstrap_servers, service.topics, tmp_path / "rebuild", 2)


def rebuild(service: Service, tmp_path: Path) -> tuple[Rebuild, io.StringIO]:
    out = io.StringIO()
    return Rebuild(place(service, tmp_path), Display(out, as_json=True)), out


def steps(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


async def answers(service: Service) -> dict[str, Any]:
    """Each pet's answer without its generation."""
    found = {pet: dict(await service.clusters(pet)) for pet in PETS}
    for answer in found.values():
        del answer["generation"]
    return found


async def decide(service: Service, name: str) -> None:
    """The first pet's first cluster is called so."""
    pet = PETS[0]
    album = await service.clusters(pet)
    arguments = {"cluster": album["clusters"][0]["id"], "name": name}
    body = {"kind": "rename", "arguments": arguments, "expected_version": album["version"], "who": "ann", "why": "so"}
    assert await service.post(f"/internal/pets/{pet}/decisions", body) == 201
    service.has_version(pet, album["version"] + 1)


async def decisions(service: Service) -> list[Any]:
    """What was decided about the first pet."""
    _, answer = await service.get(f"/internal/pets/{PETS[0]}/decisions")
    rows: list[Any] = answer["data"]
    return rows


@asynccontextmanager
async def reading(service: Service) -> AsyncIterator[list[tuple[int, int]]]:
    """Reads each pet's answer from Postgres all the time; (status, version) of each read."""
    reads: list[tuple[int, int]] = []

    async def read() -> None:
        while True:
            for pet in PETS:
                service.redis.delete(f"{service.namespace}:state:{pet}")
                status, answer = await service.get(f"/internal/pets/{pet}/clusters")
                reads.append((status, answer["version"] if status == 200 else -1))

    task = asyncio.create_task(read())
    try:
        yield reads
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a reader's count sets no event
            await asyncio.sleep(0.01)


@pytest.fixture
async def filled(stopped_service: Service) -> Service:
    stopped_service.start()
    await fill(stopped_service, PETS, range(4))
    return stopped_service


async def test_a_shadow_equals_the_live_rows_and_takes_their_place_without_a_failed_read(
    filled: Service, tmp_path: Path
) -> None:
    await decide(filled, "Rex")
    work, out = rebuild(filled, tmp_path)
    found = await work.build()
    assert (found.pets, found.differing) == (len(PETS), 0), steps(out)
    await fill(filled, PETS, range(4, 6))
    await decide(filled, "Tom")
    before, decided = await answers(filled), await decisions(filled)
    async with reading(filled) as reads:
        await until(lambda: len(reads) >= 30)
        generation = await work.swap()
        swapped = len(reads)
        await until(lambda: len(reads) >= swapped + 30)
    assert {status for status, _ in reads} == {200}
    assert (await answers(filled), await decisions(filled)) == (before, decided)
    _, answer = await filled.get(f"/internal/pets/{PETS[0]}/clusters")
    assert answer["generation"] == generation

    await fill(filled, PETS, range(6, 8))
    grown = await answers(filled)
    assert {pet: answer["version"] for pet, answer in grown.items()} == dict.fromkeys(PETS, 8) | {PETS[0]: 10}
    await decide(filled, "Kim")
    grown, decided = await answers(filled), await decisions(filled)
    assert [row["arguments"]["name"] for row in decided] == ["Kim", "Tom", "Rex"]

    await work.roll_back()
    assert (await answers(filled), await decisions(filled)) == (grown, decided), "with what came since"
    with pytest.raises(StopProcess, match="nothing to go back to"):
        await work.roll_back()
    await fill(filled, PETS, range(8, 9))
    again, _ = rebuild(filled, tmp_path)
    assert (await again.build()).differing == 0
    await again.give_up()


async def test_what_differs_is_named_with_its_first_version_and_mended_by_the_swap(
    filled: Service, tmp_path: Path
) -> None:
    right = await answers(filled)
    connection = await asyncpg.connect(filled.database_url)
    try:
        await connection.execute(
            "UPDATE cluster_members SET score = 0.123 WHERE pet_id = $1 AND since_version = 3", PETS[1]
        )
        await connection.execute("DELETE FROM cluster_heroes WHERE pet_id = $1 AND since_version = 2", PETS[2])
    finally:
        await connection.close()
    work, out = rebuild(filled, tmp_path)
    found = await work.build()
    assert [(each.pet_id, each.parts, each.first_version) for each in found.differences] == [
        (PETS[2], ("heroes",), 2),
        (PETS[1], ("members",), 3),
    ]
    assert [each["pet"] for each in steps(out) if each["step"] == "differs"] == [PETS[2], PETS[1]]
    await work.swap()
    assert await answers(filled) == right


async def test_a_swap_that_a_reader_holds_up_loses_nothing_and_a_lost_fold_is_folded_again(
    filled: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.shadow.swap.LOCK_TIMEOUT", "200ms")
    monkeypatch.setattr("projections.shadow.swap.LOCK_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr("projections.shadow.swap.LOCK_TRIES", 1_000)
    work, out = rebuild(filled, tmp_path)
    await work.build()
    for folder in (tmp_path / "rebuild").glob("*/*"):  # as a kill in the middle of a batch leaves it
        state = FoldState(folder)
        state.offset = BETWEEN
        state.close()
    await fill(filled, PETS, range(4, 6))
    before = await answers(filled)
    reader = await asyncpg.connect(filled.database_url)
    try:
        async with reader.transaction():
            await reader.fetch("SELECT count(*) FROM cluster_members")
            swapping = asyncio.create_task(work.swap())
            await until(lambda: "a reader holds the tables" in out.getvalue())
        await swapping
    finally:
        await reader.close()
    assert "folded again" in out.getvalue()
    assert await answers(filled) == before
    again, told = rebuild(filled, tmp_path)
    assert (await again.build()).differing == 0, steps(told)
    await again.give_up()


async def test_readers_do_not_wait_while_the_last_events_are_folded(
    filled: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, _ = rebuild(filled, tmp_path)
    await work.build()
    await fill(filled, PETS, range(4, 6))
    reader = await asyncpg.connect(filled.database_url)
    read = list[int]()

    async def read_and_follow(self: CatchUp, consumer: Any, connection: Any) -> int:
        applied = await follow(self, consumer, connection)
        if connection.is_in_transaction():
            async with asyncio.timeout(10):
                read.append(await reader.fetchval("SELECT count(*) FROM cluster_members"))
        return applied

    follow = CatchUp.follow
    monkeypatch.setattr(CatchUp, "follow", read_and_follow)
    try:
        await work.swap()
    finally:
        await reader.close()
    assert read
    assert all(read)


async def test_a_dry_run_says_what_it_would_do_and_does_nothing(filled: Service, tmp_path: Path) -> None:
    out = io.StringIO()
    await estimate(place(filled, tmp_path), Display(out, as_json=True))
    told = steps(out)
    assert told[0]["step"] == "would read"
    assert told[0]["events"] > len(PETS) * 4
    rows = {each["table"]: each["rows_about"] for each in told if each["step"] == "would write"}
    assert rows["pet_clusters"] == len(PETS) * 4
    connection = await asyncpg.connect(filled.database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM rebuild_runs") == 0
    finally:
        await connection.close()


async def test_a_shadow_of_another_schema_is_refused(filled: Service, tmp_path: Path) -> None:
    work, _ = rebuild(filled, tmp_path)
    await work.build()
    connection = await asyncpg.connect(filled.database_url)
    try:
        await connection.execute("UPDATE rebuild_runs SET code = 'an older release, schema 0005'")
    finally:
        await connection.close()
    for refused in (work.swap(), work.build()):
        with pytest.raises(StopProcess, match="schema 0005"):
            await refused
    await work.give_up()


async def test_two_rebuilds_at_once_are_refused(filled: Service, tmp_path: Path) -> None:
    connection = await asyncpg.connect(filled.database_url)
    try:
        assert await runs.take_turn(connection)
        work, _ = rebuild(filled, tmp_path)
        with pytest.raises(StopProcess, match="another rebuild"):
            await work.build()
    finally:
        await connection.close()


async def test_killed_in_the_middle_the_next_one_goes_on(filled: Service, tmp_path: Path) -> None:
    settings = filled.env("web") | {"DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "app", "rebuild", "--json", "--processes", "1"]
    process = await asyncio.create_subprocess_exec(*command, env=settings, cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert process.stdout is not None
    async for line in process.stdout:
        if json.loads(line)["step"] == "copying" and json.loads(line).get("done"):
            break
    process.kill()  # its workers find out by themselves
    await process.wait()
    again = await asyncio.create_subprocess_exec(*command, env=settings, cwd=REPOSITORY, stdout=subprocess.PIPE)
    out, _ = await again.communicate()
    assert again.returncode == 0, out
    told = [json.loads(line) for line in out.splitlines()]
    assert told[-1] == {"step": "compared", "pets": len(PETS), "differing": 0}
