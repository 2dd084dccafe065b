"""A pet's partition of any topic, record by record. Used by the check of a purge."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from app.partitions import partition_of
from app.settings import Settings
from projections.log_reading import log_consumer, log_end, read


@dataclass(frozen=True)
class PetTopics:
    """Reads what stands in the pet's partition now. `names`: the topics that the broker knows."""

    bootstrap_servers: str
    names: frozenset[str]
    partition: int

    async def records(self, topic: str) -> AsyncGenerator[ConsumerRecord, None]:
        """All records of the partition, other pets' too; none of a topic that is not there. Raises KafkaError."""
        if topic not in self.names:
            return
        tp, consumer = TopicPartition(topic, self.partition), log_consumer(self.bootstrap_servers)
        try:
            await consumer.start()
            start, end = (await consumer.beginning_offsets([tp]))[tp], await log_end(consumer, tp)
            # `read` assigns, once: a client that is stopped just behind a second assignment takes a minute for it.
            if start < end:
                async for records, _ in read(consumer, tp, start, end):
                    for record in records:
                        yield record
        finally:
            await consumer.stop()


async def pet_topics(settings: Settings, pet_id: str) -> PetTopics:
    """Where a pet's records stand. Raises KafkaError while the broker is away."""
    partition = partition_of(pet_id, settings.kafka_partitions)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers, client_id="media-purge")
    try:
        await admin.start()
        return PetTopics(settings.kafka_bootstrap_servers, frozenset(await admin.list_topics()), partition)
    finally:
        await admin.close()
