"""Reads what stands in a topic, from the outside. Used by the end-to-end tests' audits."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition


async def read_topic(bootstrap_servers: str, topic: str) -> list[ConsumerRecord]:
    """All records of a topic up to its ends at the time of the call, partition by partition."""
    return [record async for record in _records(bootstrap_servers, topic)]


async def _records(bootstrap_servers: str, topic: str) -> AsyncIterator[ConsumerRecord]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        await consumer._client.add_topic(topic)
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        for partition in partitions:
            consumer.assign([partition])
            end = (await consumer.end_offsets([partition]))[partition]
            while await consumer.position(partition) < end:
                for batch in (await consumer.getmany(timeout_ms=500)).values():
                    for record in batch:
                        yield record
    finally:
        await consumer.stop()
