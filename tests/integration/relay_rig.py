"""Retry pumps and requeue executors on a real Kafka, and what stands in their topics. Used by their tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from app.local.kafka import KafkaServer
from bridges.relay_loop import RelayLoop
from bridges.requeue import RequeueExecutor
from bridges.retries import RetryPump
from projections.membership import Membership
from schemas.commands import EMBED_IMAGES_TYPE, EmbedImages
from schemas.headers import RETRY_DUE, Headers, build_headers, timestamp
from schemas.topics import Topics
from tests.conftest import TEST_PARTITIONS
from tests.integration.bridge_rig import end_of, eventually, read_at_least, read_records

QUICK_GROUP = {"session_timeout_ms": 6000, "heartbeat_interval_ms": 500, "fetch_max_wait_ms": 100}


def command(job_id: str, pet_id: str = "101", attempt: int = 2, **more: Any) -> EmbedImages:
    return EmbedImages(pet_id=pet_id, job_id=job_id, attempt=attempt, image_ids=("i1",), job_images=1, **more)


def due_in(seconds: float) -> str:
    return timestamp(datetime.now(UTC) + timedelta(seconds=seconds))


def in_order(records: list[Any]) -> list[Any]:
    """Records of several partitions in the order in which the broker took them."""
    return sorted(records, key=lambda record: (record.timestamp, record.partition, record.offset))


@dataclass
class RelayRig:
    """One deployment's topics, with a producer on them."""

    kafka: KafkaServer
    topics: Topics
    producer: AIOKafkaProducer

    def membership(self, group: str) -> Membership:
        return Membership(
            bootstrap_servers=self.kafka.bootstrap_servers, group_id=f"{self.topics.prefix}{group}", options=QUICK_GROUP
        )

    def pump(self, producer: Any = None, **options: Any) -> RetryPump:
        options = {"delays_s": (30.0,) * 3, "failure_rest_s": 0.05, "measure_interval_s": 0.05, **options}
        return RetryPump(self.membership("media-retry"), producer or self.producer, self.topics, **options)

    def executor(self, producer: Any = None, **options: Any) -> RequeueExecutor:
        options = {"rate_per_second": 1000.0, "failure_rest_s": 0.05, "measure_interval_s": 0.05, **options}
        return RequeueExecutor(self.membership("media-requeue"), producer or self.producer, self.topics, **options)

    async def wait_in_tier(
        self, tier: int, waiting: EmbedImages, due: str | None, partition: int | None = None
    ) -> tuple[bytes, Headers]:
        """Put a command into a tier as embed does, and return its value and its headers but for `retry_due`."""
        value = msgspec.json.encode(waiting)
        headers = build_headers(
            event_id=waiting.id, event_type=EMBED_IMAGES_TYPE, source="/embed", time=timestamp(datetime.now(UTC))
        )
        due_header = [] if due is None else [(RETRY_DUE, due.encode())]
        await self.producer.send_and_wait(
            self.topics.retries[tier - 1].name,
            value,
            key=waiting.pet_id.encode(),
            headers=[*headers, *due_header],
            partition=partition,
        )
        return value, headers

    async def jobs(self, count: int) -> list[Any]:
        """What `media.jobs` holds, in the order in which the broker took it."""
        return in_order(await read_records(self.kafka.bootstrap_servers, self.topics.jobs.name, count))

    async def jobs_at_least(self, count: int) -> list[Any]:
        """The same, where repeats are allowed or the pump is still at work: all that the topic holds now."""
        servers, topic = self.kafka.bootstrap_servers, self.topics.jobs.name
        return in_order(await read_at_least(servers, topic, max(count, await end_of(servers, topic))))

    async def until_passed(self, group: str, topics: Sequence[str]) -> None:
        """Until the group has committed up to the topics' ends."""
        await eventually(lambda: self.has_passed(group, topics))

    async def has_passed(self, group: str, topics: Sequence[str]) -> bool:
        asked = [TopicPartition(topic, number) for topic in topics for number in range(TEST_PARTITIONS)]
        async with self._observer(group) as consumer:
            ends = await consumer.end_offsets(asked)
            return all([(await consumer.committed(tp) or 0) >= end for tp, end in ends.items()])

    @asynccontextmanager
    async def _observer(self, group: str) -> AsyncIterator[Any]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.kafka.bootstrap_servers,
            group_id=f"{self.topics.prefix}{group}",
            enable_auto_commit=False,
        )
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.stop()


@asynccontextmanager
async def running(*loops: RelayLoop) -> AsyncIterator[None]:
    """The loops run as long as the block."""
    for loop in loops:
        await loop.start()
    try:
        yield
    finally:
        for loop in loops:
            await loop.stop()


@asynccontextmanager
async def open_relay_rig(kafka: KafkaServer, topics: Topics) -> AsyncIterator[RelayRig]:
    """A producer for one test."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, enable_idempotence=True, acks="all")
    await producer.start()
    try:
        yield RelayRig(kafka, topics, producer)
    finally:
        await producer.stop()
