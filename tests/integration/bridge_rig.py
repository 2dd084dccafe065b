"""A bridge between a real Redis and a real Kafka, for the tests of both sides, and what other tests of loops need."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from redis.asyncio import Redis

from app.local.kafka import KafkaServer
from app.local.redis import RedisServer
from bridges.redis_jobs import RedisJobsBridge
from schemas.commands import EmbedImages
from schemas.headers import header
from schemas.topics import Topics
from tests.conftest import TEST_PARTITIONS

DEADLINE_S: Final = 30.0
GROUP: Final = "media-clustering-workers"


class Tally:
    """Counts and holds, as a prometheus object does."""

    def __init__(self) -> None:
        self.total = 0.0
        self.values: list[float] = []

    def inc(self, amount: float = 1) -> None:
        self.total += amount

    def set(self, value: float) -> None:
        self.values.append(value)


class DeafProducer:
    """Hands on to the broker, but its acknowledgements never arrive."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self.acknowledged = 0

    async def send(self, topic: str, **message: Any) -> Awaitable[Any]:
        future = await self._producer.send(topic, **message)
        future.add_done_callback(lambda _: setattr(self, "acknowledged", self.acknowledged + 1))
        return asyncio.get_running_loop().create_future()


class Rig:
    """One stream of its own on `redis`, relayed to `topics`."""

    redis: Any  # the test's own client, apart from the bridge's; redis-py's types hold all answers of all protocols

    def __init__(self, redis_url: str, producer: AIOKafkaProducer, kafka: KafkaServer, topics: Topics) -> None:
        self.redis = Redis.from_url(redis_url)
        self.bridge_redis = Redis.from_url(redis_url)
        self.producer = producer
        self.kafka = kafka
        self.topics = topics
        self.stream = f"streams:test.{uuid.uuid4().hex[:8]}"
        self.dead_letters = f"{self.stream}.deadletter"

    def bridge(self, **changes: Any) -> RedisJobsBridge:
        """A bridge with short waits; `changes` replaces arguments."""
        settings: dict[str, Any] = {
            "redis": self.bridge_redis,
            "producer": self.producer,
            "topics": self.topics,
            "stream_key": self.stream,
            "group": GROUP,
            "consumer_name": "test-1",
            "dead_letter_stream": self.dead_letters,
            "read_timeout_ms": 200,
            "trim_interval_s": 3_600.0,
            "measure_interval_s": 0.05,
        }
        return RedisJobsBridge(**settings | changes)

    @asynccontextmanager
    async def running(self, **changes: Any) -> AsyncIterator[RedisJobsBridge]:
        """A bridge that runs as long as the block."""
        bridge = self.bridge(**changes)
        await bridge.start()
        try:
            yield bridge
        finally:
            await bridge.stop()

    async def add(self, document: object) -> str:
        """XADD a job as auth-service does."""
        entry_id: bytes = await self.redis.xadd(self.stream, {"payload": json.dumps(document)})
        return entry_id.decode()

    async def records(self, topic: str, count: int) -> list[Any]:
        """The topic's records from its beginning on, as soon as there are `count`."""
        return await read_records(self.kafka.bootstrap_servers, topic, count)

    async def commands(self, count: int) -> list[EmbedImages]:
        """What `media.jobs` holds, in the order of enqueueing per pet."""
        return [
            msgspec.json.decode(r.value, type=EmbedImages) for r in await self.records(self.topics.jobs.name, count)
        ]

    async def pending(self) -> int:
        """How many entries the group has read and not acknowledged."""
        summary: Any = await self.redis.xpending(self.stream, GROUP)
        return int(summary["pending"])

    async def settled(self) -> None:
        """Wait until the group has read everything and nothing is pending."""
        await eventually(self._is_settled)

    async def _is_settled(self) -> bool:
        groups: Any = await self.redis.xinfo_groups(self.stream)
        stream: Any = await self.redis.xinfo_stream(self.stream)
        return bool(
            groups and groups[0]["pending"] == 0 and groups[0]["last-delivered-id"] == stream["last-generated-id"]
        )


async def read_records(bootstrap_servers: str, topic: str, count: int) -> list[Any]:
    """The topic's records from its beginning on, as soon as there are `count`; more are an error."""
    found = await read_at_least(bootstrap_servers, topic, count)
    assert len(found) == count, f"{topic}: {len(found)} records, expected {count}"
    return found


async def read_at_least(bootstrap_servers: str, topic: str, count: int) -> list[Any]:
    """The same of a topic that is still written to: `count` records and what came in the meantime."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest", group_id=None)
    await consumer.start()
    found: list[Any] = []
    end = time.monotonic() + DEADLINE_S
    try:
        while len(found) < count and time.monotonic() < end:
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                found.extend(batch)
    finally:
        await consumer.stop()
    assert len(found) >= count, f"{topic}: {len(found)} records, expected {count} or more"
    return found


async def end_of(bootstrap_servers: str, topic: str) -> int:
    """How many records the topic has been given, over all partitions."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers)
    await consumer.start()
    try:
        ends = await consumer.end_offsets([TopicPartition(topic, number) for number in range(TEST_PARTITIONS)])
    finally:
        await consumer.stop()
    return sum(ends.values())


def ce_ids(records: list[Any]) -> list[str]:
    """The records' CloudEvents ids."""
    return [header(record.headers, "ce_id") for record in records]


async def eventually(condition: Callable[[], Any], deadline_s: float = DEADLINE_S) -> None:
    """Poll until it holds; fails after the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        result = condition()
        if await result if asyncio.iscoroutine(result) else result:
            return
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def open_rig(server: RedisServer, kafka: KafkaServer, topics: Topics, **producer: Any) -> AsyncIterator[Rig]:
    """Clients for one test."""
    sender = AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap_servers, enable_idempotence=True, acks="all", **producer
    )
    await sender.start()
    try:
        rig = Rig(server.url, sender, kafka, topics)
        yield rig
        await rig.redis.aclose()
        await rig.bridge_redis.aclose()
    finally:
        await sender.stop()
