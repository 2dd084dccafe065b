"""The cache holds the newest answer it was ever given, on Redis 6.2 and 8."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.local.redis import RedisServer
from projections.cache import AnswerCache, stored_position
from schemas.answers import AnswerMetrics, ClusterAnswer, encode_answer

PREDECESSORS = b'{"pet_id":"101","clusters":[],"metrics":{"num_clusters":0},"updated_at":"2026-11-21T07:49:24+00:00"}'


@pytest.fixture(params=["redis_server", "redis6_server"])
async def redis(request: pytest.FixtureRequest) -> AsyncIterator[Redis]:
    client = Redis.from_url(request.getfixturevalue(request.param).url)
    await client.flushdb()
    yield client
    await client.aclose()


@pytest.fixture
def cached(redis: Redis) -> AnswerCache:
    return AnswerCache(redis, namespace="sploot.media.clusters", ttl_seconds=600)


def answer(generation: int, version: int, **more: Any) -> bytes:
    values: dict[str, Any] = {
        "pet_id": "101", "clusters": (), "metrics": AnswerMetrics({}, None, "t"), "updated_at": "t",
        "image_count": 0, "unclustered_count": 0, "unclustered": (),
    }  # fmt: skip
    return encode_answer(ClusterAnswer(generation=generation, version=version, **(values | more)))


async def put(cached: AnswerCache, generation: int, version: int, **more: Any) -> bool:
    return await cached.put("101", answer(generation, version, **more), generation, version)


async def test_an_older_answer_never_replaces_a_newer_one(cached: AnswerCache) -> None:
    assert await put(cached, 1, 9)
    assert await put(cached, 1, 10)
    assert not await put(cached, 1, 9)
    assert await cached.get("101") == answer(1, 10)


async def test_an_equal_version_is_stored_again(cached: AnswerCache, redis: Redis) -> None:
    assert await put(cached, 1, 3)
    await redis.expire(cached.key("101"), 5)
    assert await put(cached, 1, 3, unclustered=("x",))
    assert await cached.get("101") == answer(1, 3, unclustered=("x",))
    assert await redis.ttl(cached.key("101")) > 500


async def test_a_newer_generation_wins_whatever_its_version(cached: AnswerCache) -> None:
    assert await put(cached, 1, 50)
    assert await put(cached, 2, 4)
    assert not await put(cached, 1, 51)
    assert await cached.get("101") == answer(2, 4)


@pytest.mark.parametrize("foreign", [PREDECESSORS, b"", b"x", b'"generation":1,"version":99} and more'])
async def test_a_value_of_another_service_is_no_answer_and_is_replaced(
    cached: AnswerCache, redis: Redis, foreign: bytes
) -> None:
    await redis.set(cached.key("101"), foreign)
    assert await cached.get("101") is None
    assert await put(cached, 1, 1)
    assert await cached.get("101") == answer(1, 1)


async def test_a_key_of_another_type_is_replaced(cached: AnswerCache, redis: Redis) -> None:
    await redis.hset(cached.key("101"), "field", "value")
    assert await put(cached, 1, 1)
    assert await cached.get("101") == answer(1, 1)


async def test_a_label_that_looks_like_the_end_does_not_count(cached: AnswerCache) -> None:
    tricky = answer(1, 2, unclustered=('"generation":9,"version":99}',))
    assert stored_position(tricky) == (1, 2)
    assert await cached.put("101", tricky, 1, 2)
    assert await put(cached, 1, 3)


async def test_invalidate_says_whether_there_was_one(cached: AnswerCache, redis: Redis) -> None:
    await put(cached, 1, 1)
    assert await redis.keys() == [b"sploot.media.clusters:state:101"]
    assert await cached.invalidate("101")
    assert not await cached.invalidate("101")
    assert await cached.get("101") is None


async def test_a_client_that_decodes_is_fine(redis_server: RedisServer) -> None:
    client = Redis.from_url(redis_server.url, decode_responses=True)
    cached = AnswerCache(client, namespace="decoded", ttl_seconds=60)
    await put(cached, 1, 1)
    assert await cached.get("101") == answer(1, 1)
    await client.aclose()


async def test_a_redis_that_is_away_raises(redis_server: RedisServer) -> None:
    client = Redis.from_url("redis://127.0.0.1:1/0")
    with pytest.raises(RedisError):
        await AnswerCache(client, namespace="away", ttl_seconds=60).get("101")
    await client.aclose()


async def test_the_mark_of_a_purge_keeps_older_answers_out_and_gives_way_to_the_next(
    cached: AnswerCache, redis: Redis
) -> None:
    assert await put(cached, 2, 5)
    assert await cached.put_mark("101", 2, 5)
    assert await cached.get("101") is None
    assert await redis.ttl(cached.key("101")) > 500
    assert not await put(cached, 2, 5), "a read-through or a projector that began before"
    assert not await put(cached, 1, 9)
    assert not await cached.invalidate("101"), "no answer to drop"
    assert not await put(cached, 2, 5), "the mark stayed"
    assert await cached.put_mark("101", 2, 5)
    assert await put(cached, 2, 6)
    assert not await cached.put_mark("101", 1, 5), "a late mark of another generation"
    assert await cached.get("101") == answer(2, 6)
    assert await cached.invalidate("101")
