"""Cached answers are compared with the rows, and made anew from them under a new generation."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from app.progress import Display
from app.rebuild.cache import CacheRebuild
from app.rebuild.place import Place
from projections.answers import read_latest
from projections.cache import AnswerCache
from projections.postgres import apply_version
from projections.shadow import runs
from schemas.answers import encode_answer
from schemas.errors import StopProcess
from schemas.topics import Topics
from tests.integration.projections.samples import Album

PETS = ("101", "102", "103", "104")
NAMESPACE = "t[1]*"


@dataclass
class Stores:
    """Rows of some pets, and a cache."""

    url: str
    connection: Any
    redis: Any
    cache: AnswerCache

    async def grow(self, pet: str, album: Album) -> None:
        async with self.connection.transaction():
            await apply_version(self.connection, album.draw())

    async def answer(self, pet: str) -> Any:
        found = await read_latest(self.connection, pet)
        assert found is not None
        return found

    async def put(self, pet: str) -> bytes:
        found = await self.answer(pet)
        encoded = encode_answer(found)
        assert await self.cache.put(pet, encoded, found.generation, found.version)
        return encoded

    def work(self, folder: Path, rate: float = 1e9) -> tuple[CacheRebuild, Any]:
        out = io.StringIO()
        place = Place(self.cache, self.url, "", Topics(), folder, 1)
        made = CacheRebuild(place, Display(out, as_json=True), rate)
        return made, lambda: [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.fixture
async def stores(migrated_url: str, redis_url: str) -> AsyncIterator[Stores]:
    connection = await asyncpg.connect(migrated_url)
    redis = Redis.from_url(redis_url)
    made = Stores(migrated_url, connection, redis, AnswerCache(redis, namespace=NAMESPACE, ttl_seconds=600))
    for number, pet in enumerate(PETS):
        album = Album(pet, seed=number)
        for _ in range(4):
            await made.grow(pet, album)
    yield made
    await connection.close()
    await redis.aclose()


async def test_what_is_cached_is_made_anew_and_what_differs_is_told(stores: Stores, tmp_path: Path) -> None:
    same, old = await stores.put(PETS[0]), await stores.answer(PETS[1])
    await stores.put(PETS[1])
    await stores.connection.execute("UPDATE pet_clusters SET image_count = 99 WHERE pet_id = $1", PETS[1])
    await stores.redis.set(stores.cache.key("stranger"), b"the predecessor's")
    await stores.redis.set("t1:state:102", b"of another namespace")
    work, steps = stores.work(tmp_path)
    before = {key: await stores.redis.get(key) for key in await stores.redis.keys()}
    assert await work.run(dry=True) == 1
    assert {key: await stores.redis.get(key) for key in await stores.redis.keys()} == before
    told = [step for step in steps() if step["step"] != "caching"]
    assert told[0] == {"step": "differs", "pet": PETS[1], "version": 4}

    work, steps = stores.work(tmp_path)
    assert await work.run() == 1
    assert steps()[-1] == {
        "step": "compared", "answers": 3, "same": 1, "behind": 0, "differing": 1, "unknown": 1,
    }  # fmt: skip
    assert await stores.cache.get(PETS[1]) == encode_answer(await stores.answer(PETS[1])) != encode_answer(old)
    assert await stores.cache.get(PETS[0]) != same, "it is of the new generation"
    assert not await stores.redis.exists(stores.cache.key("stranger"))
    assert await stores.redis.get("t1:state:102") == b"of another namespace"
    assert await stores.cache.get(PETS[2]) is None, "what nobody has asked for is not cached"
    assert not await stores.cache.put(PETS[1], encode_answer(old), old.generation, old.version + 9)

    work, steps = stores.work(tmp_path)
    assert await work.run() == 0
    assert (steps()[-1]["same"], steps()[-1]["answers"]) == (2, 2)


async def test_an_answer_of_an_older_version_is_behind_and_no_difference(stores: Stores, tmp_path: Path) -> None:
    await stores.put(PETS[0])
    album = Album(PETS[0], seed=0)
    for _ in range(4):
        album.draw()
    await stores.grow(PETS[0], album)
    work, steps = stores.work(tmp_path)
    assert await work.run() == 0
    assert steps()[-1]["behind"] == 1
    assert await stores.cache.get(PETS[0]) == encode_answer(await stores.answer(PETS[0]))


async def test_the_rate_is_held(stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for pet in PETS:
        await stores.put(pet)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("app.pace.asyncio.sleep", sleep)
    work, _ = stores.work(tmp_path, rate=0.001)
    await work.run()
    assert [round(seconds, -2) for seconds in slept] == [0, 1000, 2000, 3000]


async def test_one_rebuild_at_a_time(stores: Stores, tmp_path: Path) -> None:
    assert await runs.take_turn(stores.connection)
    work, _ = stores.work(tmp_path)
    with pytest.raises(StopProcess, match="another rebuild"):
        await work.run()
