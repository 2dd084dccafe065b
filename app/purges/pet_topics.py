"""A pet's partition of any topic, record by record. Used by the check of a purge."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from app.settings import Settings
from projections.shadow.reading import log_consumer, log_end, read


class PetTopics:
    """Reads what stands in the pet's partition now."""

    def __init__(self, consumer: Any, names: set[str], partition: int) -> None:
        self._consumer = consumer
        self._names = names
        self._partition = partition

    def has(self, topic: str) -> bool:
        """Whether the broker knows the topic."""
        return topic in self._names

    async def records(self, topic: str) -> AsyncGenerator[ConsumerRecord, None]:
        """All records of the partition, other pets' too."""
        tp = TopicPartition(topic, self._partition)
        # Assigned before it is asked for its ends: the client asks only about what it has.
        self._consumer.assign([tp])
        start = (await self._consumer.beginning_offsets([tp]))[tp]
        async for records, _ in read(self._consumer, tp, start, await log_end(self._consumer, tp)):
            for record in records:
                yield record


@asynccontextmanager
async def pet_topics(settings: Settings, pet_id: str) -> AsyncIterator[PetTopics]:
    """Opened and closed. Raises KafkaError while the broker is away."""
    consumer = log_consumer(settings.kafka_bootstrap_servers)
    numbers = list(range(settings.kafka_partitions))
    partition = DefaultPartitioner()(pet_id.encode(), numbers, numbers)
    try:
        await consumer.start()
        yield PetTopics(consumer, await consumer.topics(), partition)
    finally:
        await consumer.stop()
