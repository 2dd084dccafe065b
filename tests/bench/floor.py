"""The least that a job's way could take on this machine: its durable steps alone, one after the other.

    Kafka hop × 3      produce with acks=all → a consumer has it; jobs, pet-log, pet-versions, with plain aiokafka
    Postgres commit    one row
    Redis SET          one answer

Used by the benchmark `latency`, which takes these samples on the servers that the service uses, while it uses them.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.asyncio import Redis

HOPS: Final = ("jobs", "pet-log", "pet-versions")
_RECEIVE_SECONDS: Final = 30.0


@dataclass(frozen=True)
class FloorSample:
    """Seconds of one pass."""

    hops: tuple[float, ...]
    commit: float
    set: float

    @property
    def total(self) -> float:
        """Seconds from the first produce to the end of the SET."""
        return sum(self.hops) + self.commit + self.set


@dataclass(frozen=True)
class _Hop:
    topic: str
    consumer: Any
    payload: bytes


class Floor:
    """Takes samples; `payloads`: bytes of a message of each hop and of the answer, as large as the service's."""

    def __init__(self, producer: Any, hops: list[_Hop], database: Any, redis: Any, answer: bytes) -> None:
        self._producer = producer
        self._hops = hops
        self._database = database
        self._redis = redis
        self._answer = answer

    async def sample(self) -> FloorSample:
        """One pass."""
        hops = tuple([await self._hop(hop) for hop in self._hops])
        started = time.perf_counter()
        await self._database.execute("INSERT INTO bench_floor (pet_id) VALUES ($1)", "pet_0000000000")
        committed = time.perf_counter()
        await self._redis.set("bench-floor", self._answer)
        return FloorSample(hops, committed - started, time.perf_counter() - committed)

    async def _hop(self, hop: _Hop) -> float:
        started = time.perf_counter()
        # Produced without waiting for the answer: the consumer is served once the record is durable here.
        sent = await self._producer.send(hop.topic, hop.payload, partition=0)
        await asyncio.wait_for(hop.consumer.getone(), _RECEIVE_SECONDS)
        took = time.perf_counter() - started
        await sent
        return took


@asynccontextmanager
async def open_floor(
    *, bootstrap_servers: str, database_url: str, redis_url: str, payloads: dict[str, int], answer: int
) -> AsyncIterator[Floor]:
    """A floor with topics, a table and a key of its own. `payloads`: bytes of a message of each of `HOPS`."""
    prefix = f"floor-{uuid.uuid4().hex[:8]}."
    await _create_topics(bootstrap_servers, [prefix + hop for hop in HOPS])
    async with AsyncExitStack() as stack:
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all")
        await producer.start()
        stack.push_async_callback(producer.stop)
        hops = []
        for hop in HOPS:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=bootstrap_servers, enable_auto_commit=False, auto_offset_reset="earliest"
            )
            await consumer.start()
            stack.push_async_callback(consumer.stop)
            partition = TopicPartition(prefix + hop, 0)
            consumer.assign([partition])
            hops.append(_Hop(prefix + hop, consumer, bytes(payloads[hop])))
        database = await asyncpg.connect(database_url)
        stack.push_async_callback(database.close)
        await database.execute(
            "CREATE TABLE IF NOT EXISTS bench_floor (id bigserial PRIMARY KEY, pet_id text NOT NULL)"
        )
        redis = Redis.from_url(redis_url)
        stack.push_async_callback(redis.aclose)
        yield Floor(producer, hops, database, redis, bytes(answer))


async def _create_topics(bootstrap_servers: str, names: list[str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic(name, 1, 1) for name in names])
        if any(code for _name, code, *_ in answer.topic_errors):
            raise RuntimeError(f"the floor's topics cannot be created: {answer}")
    finally:
        await admin.close()
