"""Gives messages to a Kafka producer. Used by `app.sender` and by the API's producer."""

from __future__ import annotations

from typing import Any

from app.partitions import partition_of
from bridges.messages import Message


async def hand_over(producer: Any, message: Message) -> Any:
    """The broker's word on the message, to be awaited. `producer`: aiokafka's, started. Raises KafkaError."""
    partition = None
    if message.beside:
        partition = partition_of(message.beside, len(await producer.partitions_for(message.topic)))
    return await producer.send(
        message.topic, value=message.value, key=message.key, headers=message.headers, partition=partition
    )
