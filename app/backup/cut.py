"""Up to where an export goes: where groups, topics and partitions stand at its start. Used by `export.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import stamina
from aiokafka import TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError

from app.backup.manifest import GroupOffset
from app.backup.place import Place, partition_counts
from projections.kafka_cluster import cluster_id
from projections.offsets import LogOffsets
from schemas.errors import StopProcess
from schemas.headers import timestamp, utc_now
from schemas.topics import Topic

COORDINATOR_SECONDS: Final = 30.0
"""How long a Kafka that has had no group yet may take to make their topic."""


@dataclass(frozen=True, slots=True)
class Cut:
    """`begins`, `ends`: the first and the next offset of each partition. `cluster`: Kafka's id."""

    cluster: str
    taken_at: str
    groups: tuple[GroupOffset, ...]
    begins: dict[TopicPartition, int]
    ends: dict[TopicPartition, int]


async def take_cut(place: Place, topics: tuple[Topic, ...]) -> Cut:
    """Look at all of them now.

    Groups before ends: a group commits only behind what its records have caused, so what lies before its offset stands
    below the ends, and a group that is restored to it leaves nothing out. The log's ends before those of the keys: what
    seals a fact is durable before it. Raises StopProcess when a topic is missing or has another partition count than
    the settings say.
    """
    counts = await partition_counts(place.brokers, topics)
    for topic in topics:
        if counts.get(topic.name) != place.settings.kafka_partitions:
            raise StopProcess(
                f"KAFKA_PARTITIONS: is {place.settings.kafka_partitions}, but {topic.name} has"
                f" {counts.get(topic.name, 0)} partitions"
            )
    partitions = [tp for topic in topics for tp in place.partitions(topic)]
    async with LogOffsets(place.brokers) as broker:
        groups = await _groups(place, broker, topics)
        taken_at = timestamp(utc_now())
        keys = place.topics.pet_keys.name
        ends = await broker.ends([tp for tp in partitions if tp.topic != keys])
        ends |= await broker.ends([tp for tp in partitions if tp.topic == keys])
        begins = await broker.begins(partitions)
    return Cut(await cluster_id(place.brokers), taken_at, tuple(groups), begins, ends)


async def _groups(place: Place, broker: LogOffsets, topics: tuple[Topic, ...]) -> list[GroupOffset]:
    groups = []
    for group, read in place.readers().items():
        partitions = [tp for topic in read if topic in topics for tp in place.partitions(topic)]
        found = await _committed(broker, group, partitions)
        groups += [_group_offset(place, group, tp, offset) for tp, offset in sorted(found.items())]
    return groups


async def _committed(broker: LogOffsets, group: str, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
    patiently = stamina.retry_context(on=GroupCoordinatorNotAvailableError, attempts=None, timeout=COORDINATOR_SECONDS)
    async for attempt in patiently:
        with attempt:
            return await broker.committed(group, partitions)
    raise AssertionError("the last attempt returns or raises")


def _group_offset(place: Place, group: str, tp: TopicPartition, offset: int) -> GroupOffset:
    return GroupOffset(group=place.short(group), topic=place.short(tp.topic), partition=tp.partition, offset=offset)
