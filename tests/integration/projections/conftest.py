"""A migrated database, a pool on it, and a cache on the real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from app.local.kafka import KafkaServer
from projections.cache import AnswerCache
from projections.pool import create_pool
from projections.reader import ClusterReader
from projections.similar.search import SimilarReader
from schemas.topics import Topics
from tests.integration.similar_world import SimilarWorld, similar_world


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


@pytest.fixture
async def world(kafka: KafkaServer, topics: Topics, pool: Any, migrated_url: str) -> AsyncIterator[SimilarWorld]:
    """A log of photos and a similarity index over it, in a database with the extension."""
    async with similar_world(kafka.bootstrap_servers, topics, pool, migrated_url) as opened:
        yield opened


@pytest.fixture
def nearest(pool: Any) -> SimilarReader:
    return SimilarReader(pool)
