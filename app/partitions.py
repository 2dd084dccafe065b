"""The log's partitions, and where a pet's messages stand. Used by verify, what-if, policy, purges and rebuilds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.partitioner import murmur2

from projections.log_reading import log_consumer
from schemas.errors import StopProcess


def partition_of(pet_id: str, partitions: int) -> int:
    """The partition, of so many, to which Kafka's own partitioner leads a pet's key."""
    return int(murmur2(pet_id.encode()) & 0x7FFFFFFF) % partitions


@asynccontextmanager
async def log_partitions(bootstrap_servers: str, topic: str) -> AsyncIterator[tuple[Any, list[int]]]:
    """A consumer that reads nothing yet, and the numbers of the log's partitions. Raises StopProcess without a log."""
    consumer = log_consumer(bootstrap_servers, topic)
    try:
        await consumer.start()
        found = consumer.partitions_for_topic(topic)
        if not found:
            raise StopProcess(f"the log {topic} is not there")
        consumer.unsubscribe()
        yield consumer, sorted(found)
    finally:
        await consumer.stop()
