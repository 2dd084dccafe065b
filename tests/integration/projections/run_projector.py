"""A projector in a process of its own, to be killed. Run by test_runner: bootstrap, topic prefix, database, Redis."""

from __future__ import annotations

import asyncio
import sys

from aiokafka import ConsumerRecord
from redis.asyncio import Redis

from projections.cache import AnswerCache
from projections.membership import Membership
from projections.pool import create_pool
from projections.runner import Projector
from schemas.topics import Topics
from tests.integration.projections.samples import no_replay


async def refuse(record: ConsumerRecord, reason: str) -> None:
    raise AssertionError(f"dead-lettered {record.topic}/{record.offset}: {reason}")


async def main(bootstrap_servers: str, prefix: str, database_url: str, redis_url: str) -> None:
    async with create_pool(database_url, size=4, statement_timeout_ms=20_000, ssl_mode="disable") as pool:
        projector = Projector(
            membership=Membership(bootstrap_servers=bootstrap_servers, group_id=f"{prefix}killed"),
            topics=Topics(prefix=prefix),
            pool=pool,
            cache=AnswerCache(Redis.from_url(redis_url), namespace="test.clusters", ttl_seconds=600),
            replay=no_replay,
            dead_letter=refuse,
        )
        await projector.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
