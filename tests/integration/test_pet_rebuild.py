"""One pet's rows are made anew from the log, compared, and put in place in one transaction."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from app.local.kafka import KafkaServer
from app.progress import Display
from app.rebuild import pet as pet_rebuild
from app.rebuild.pet import PetRebuild
from app.rebuild.place import Place
from projections.answers import read_at, read_latest
from projections.cache import AnswerCache
from projections.postgres import SNAPSHOT_EVERY, apply_version
from projections.queries import load
from projections.rebuild_progress import ProgressBoard
from projections.shadow import one_pet, runs, schema
from projections.shadow.history import Start
from schemas.answers import encode_answer
from schemas.errors import StopProcess
from schemas.topics import Topics
from schemas.versions import PetVersion
from tables.replay import LogReplay
from tests.integration.generations_rig import FoldRig, partition_of

PETS = 3
FACTS = PETS * (SNAPSHOT_EVERY + 2)
PET = "pet-1"


@dataclass
class Rows:
    """A log of some pets, and their rows as the projector has written them."""

    rig: FoldRig
    connection: Any
    cache: AnswerCache
    redis_url: str

    async def project(self) -> None:
        """Write what the log leads to."""
        replays: dict[int, LogReplay] = {}
        async with self.connection.transaction():
            for record in await self.rig.read(self.rig.topics.pet_log.name):
                replay = replays.setdefault(record.partition, LogReplay(record.partition))
                version = replay.feed(record.offset, record.key, record.value)
                if isinstance(version, PetVersion):
                    await apply_version(self.connection, version)

    async def of(self, *pets: str) -> dict[str, list[Any]]:
        """All rows of some pets but for when they were written."""
        found = {}
        for table in schema.TABLES:
            rows = await self.connection.fetch(f"SELECT * FROM {table} WHERE pet_id = ANY ($1)", list(pets))
            found[table] = sorted(str({k: v for k, v in row.items() if k != "created_at"}) for row in rows)
        return found

    def work(self, pet: str = PET, start: Start | None = None) -> tuple[PetRebuild, Any]:
        out = io.StringIO()
        place = Place(
            self.cache, self.rig.env["DATABASE_URL"], self.rig.settings.kafka_bootstrap_servers, self.rig.topics,
            self.rig.folder, 1, start=start,
        )  # fmt: skip
        made = PetRebuild(place, Display(out, as_json=True), pet)
        return made, lambda: [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.fixture
async def rows(
    kafka: KafkaServer, topics: Topics, migrated_url: str, redis_url: str, tmp_path: Path
) -> AsyncIterator[Rows]:
    rig = FoldRig(kafka.bootstrap_servers, topics, migrated_url, tmp_path)
    await rig.prepare()
    await rig.publish(FACTS, pets=PETS)
    connection = await asyncpg.connect(migrated_url)
    redis = Redis.from_url(redis_url)
    made = Rows(rig, connection, AnswerCache(redis, namespace="t", ttl_seconds=600), redis_url)
    await made.project()
    yield made
    await connection.close()
    await redis.aclose()


async def damage(connection: Any) -> None:
    await connection.execute("UPDATE cluster_members SET score = 0.5 WHERE pet_id = $1 AND since_version = 7", PET)
    await connection.execute("DELETE FROM pet_clusters WHERE pet_id = $1 AND version < 5", PET)


async def test_what_differs_is_told_and_nothing_is_changed_until_it_is_put_in_place(rows: Rows) -> None:
    right, others = await rows.of(PET), await rows.of("pet-0", "pet-2")
    work, steps = rows.work()
    assert (await work.compare()).differing == 0
    await damage(rows.connection)
    damaged = await rows.of(PET)
    (found,) = (await work.compare()).differences
    assert (found.pet_id, found.parts, found.first_version) == (PET, ("members",), 7), "what was trimmed is left out"
    assert steps()[-1]["where"] == "from version 7"
    assert await rows.of(PET) == damaged
    assert not await schema.exists(rows.connection, one_pet.SCHEMA)

    await work.swap()
    assert await rows.of(PET) == right, "snapshots and trimmed versions among them"
    assert await rows.of("pet-0", "pet-2") == others
    assert not await schema.exists(rows.connection, one_pet.SCHEMA)


async def test_trimmed_versions_are_there_again_from_where_it_is_said(rows: Rows) -> None:
    async def read() -> dict[int, bytes | None]:
        answers = {number: await read_at(rows.connection, PET, number) for number in (9, 10, 30)}
        return {number: encode_answer(replace(a, generation=0)) if a else None for number, a in answers.items()}

    before = await read()
    await rows.connection.execute("DELETE FROM pet_clusters WHERE pet_id = $1 AND version < 40", PET)
    work, steps = rows.work(start=Start(version=10))
    assert (await work.swap()).differing == 0
    assert {"step": "left out", "versions": 9} in steps()
    assert await read() == before | {9: None}


async def test_the_cache_takes_the_new_answer_and_none_that_was_read_before(rows: Rows) -> None:
    before = await read_latest(rows.connection, PET)
    assert before is not None
    await damage(rows.connection)
    work, _ = rows.work()
    await work.swap()
    stored = await rows.cache.get(PET)
    answer = await read_latest(rows.connection, PET)
    assert answer is not None
    assert stored == encode_answer(answer)
    assert answer.generation > before.generation
    assert not await rows.cache.put(PET, encode_answer(before), before.generation, before.version)


async def test_versions_that_come_meanwhile_are_in_it_and_the_projector_waits(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = rows.rig.topics.pet_versions.name
    await rows.connection.execute(load("insert_position"), "postgres", topic, partition_of(PET))
    build, put = one_pet.build, one_pet.put_in_place
    waited = []

    async def slow_build(*arguments: Any) -> None:
        await build(*arguments)
        await rows.rig.publish(PETS * 2, pets=PETS)

    async def watched_put(*arguments: Any) -> None:
        with pytest.raises(asyncpg.LockNotAvailableError):
            await rows.connection.execute("SELECT FROM projection_positions FOR UPDATE NOWAIT")
        waited.append(True)
        await put(*arguments)

    monkeypatch.setattr(one_pet, "build", slow_build)
    monkeypatch.setattr(one_pet, "put_in_place", watched_put)
    work, _ = rows.work()
    await work.swap()
    assert waited == [True]
    swapped = await rows.of(PET)
    await rows.project()
    assert await rows.of(PET) == swapped, "the projector finds nothing to do"
    assert await rows.connection.fetchval(load("read_last_version"), PET) == FACTS // PETS + 2


async def test_cut_off_in_the_middle_nothing_has_changed(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    await damage(rows.connection)
    damaged = await rows.of(PET)

    async def cut(_: Any) -> int:
        raise ConnectionResetError

    monkeypatch.setattr(pet_rebuild, "begin_generation", cut)
    work, _ = rows.work()
    with pytest.raises(ConnectionResetError):
        await work.swap()
    assert await rows.of(PET) == damaged


async def test_a_pet_whose_rows_are_lost_comes_back_and_one_that_never_was_is_refused(rows: Rows) -> None:
    right = await rows.of("pet-2")
    for table in schema.TABLES:
        await rows.connection.execute(f"DELETE FROM {table} WHERE pet_id = 'pet-2'")
    work, _ = rows.work("pet-2")
    assert [each.first_version for each in (await work.compare()).differences] == [0]
    await work.swap()
    assert await rows.of("pet-2") == right
    never, _ = rows.work("nobody")
    with pytest.raises(StopProcess, match="the log has no version of nobody"):
        await never.compare()
    assert await runs.take_turn(rows.connection)
    with pytest.raises(StopProcess, match="another rebuild"):
        await work.compare()


async def test_the_command_tells_the_api_how_it_went(rows: Rows) -> None:
    done = await rows.rig.command("rebuild", "--pet", PET, "--swap", REDIS_URL=rows.redis_url)
    assert (done.returncode, json.loads(done.stdout.splitlines()[-1])["step"]) == (0, "cached"), done.stderr
    async with Redis.from_url(rows.redis_url) as redis:
        (kept,) = await ProgressBoard(redis, rows.rig.settings.namespace).list()
    assert (kept.projection, kept.state, kept.step, kept.details["pet"]) == ("postgres", "ended", "cached", PET)
