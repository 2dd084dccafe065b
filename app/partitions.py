"""Where a pet's messages stand. Used by producers, `verify`, `what-if`, by purges and by rebuilds of one pet."""

from __future__ import annotations

from typing import Any

from aiokafka.partitioner import murmur2

from bridges.messages import Message


def partition_of(pet_id: str, partitions: int) -> int:
    """The partition, of so many, to which Kafka's own partitioner leads a pet's key."""
    return int(murmur2(pet_id.encode()) & 0x7FFFFFFF) % partitions


async def hand_over(producer: Any, message: Message) -> Any:
    """Give the message to an aiokafka producer; the broker's word, to be awaited. Raises KafkaError."""
    partition = None
    if message.beside:
        partition = partition_of(message.beside, len(await producer.partitions_for(message.topic)))
    return await producer.send(
        message.topic, value=message.value, key=message.key, headers=message.headers, partition=partition
    )
