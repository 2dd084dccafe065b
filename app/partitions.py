"""Where a pet's messages stand. Used by `verify`, `what-if`, by purges and by rebuilds of one pet."""

from __future__ import annotations

from aiokafka.partitioner import murmur2


def partition_of(pet_id: str, partitions: int) -> int:
    """The partition, of so many, to which Kafka's own partitioner leads a pet's key."""
    return int(murmur2(pet_id.encode()) & 0x7FFFFFFF) % partitions
