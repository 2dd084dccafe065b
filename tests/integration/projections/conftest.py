"""A migrated database, a pool on it, and a cache on the real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from projections.cache import AnswerCache
from projections.pool import create_pool
from projections.reader import ClusterReader


@pytest.fixture
async def pool(migrated_url: str) -> AsyncIterator[Any]:
    async with create_pool(migrated_url, size=8, statement_timeout_ms=20_000, ssl_mode="disable") as opened:
        yield opened


@pytest.fixture
def reader(pool: Any) -> ClusterReader:
    return ClusterReader(pool)


@pytest.fixture
async def cache(redis_url: str) -> AsyncIterator[AnswerCache]:
    client = Redis.from_url(redis_url)
    yield AnswerCache(client, namespace="test.clusters", ttl_seconds=600)
    await client.aclose()
