"""Which Kafka an export is read from or written to. Made by `run.py`, used by export, import and adoption."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from app.faust_apps import group_id
from app.settings import Settings
from projections.log_reading import log_consumer
from schemas.topics import Topic, Topics

STOP_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Place:
    """A deployment's Kafka."""

    settings: Settings

    @property
    def brokers(self) -> str:
        """Bootstrap servers."""
        return self.settings.kafka_bootstrap_servers

    @property
    def prefix(self) -> str:
        """What stands before the name of each topic and group."""
        return self.settings.kafka_topic_prefix

    @property
    def topics(self) -> Topics:
        """The deployment's topics."""
        return self.settings.topics()

    def short(self, name: str) -> str:
        """A topic's or group's name without the prefix, as exports keep it."""
        return name.removeprefix(self.prefix)

    def partitions(self, topic: Topic) -> list[TopicPartition]:
        """A topic's partitions."""
        return [TopicPartition(topic.name, number) for number in range(self.settings.kafka_partitions)]

    def readers(self) -> dict[str, tuple[Topic, ...]]:
        """Group → what it reads of the restored topics. A restored group goes on where it stood, so it need not do
        again what the log holds. Not the fold's: its table is gone, so it reads the log from its beginning.
        """
        topics = self.topics
        return {
            group_id(self.settings, "embed"): (topics.jobs,),
            group_id(self.settings, "retry"): topics.retries,
            group_id(self.settings, "requeue"): (topics.deadletter_actions,),
        }

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Any]:
        """A consumer for `projections.log_reading.read`."""
        consumer = log_consumer(self.brokers)
        try:
            await consumer.start()
            yield consumer
        finally:
            # Told to stop while it lets a former assignment go, the client may not hear; the second time it does.
            with suppress(TimeoutError):
                await asyncio.wait_for(consumer.stop(), STOP_SECONDS)


async def partition_counts(brokers: str, topics: tuple[Topic, ...]) -> dict[str, int]:
    """Topic → its partitions, 0 when it is not there. Raises KafkaError while the broker is away."""
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    try:
        described = await admin.describe_topics([topic.name for topic in topics])
    finally:
        await admin.close()
    return {row["topic"]: len(row["partitions"]) for row in described}
