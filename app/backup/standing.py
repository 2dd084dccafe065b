"""Whether a Kafka may take an import: empty, or holding the beginning of the very same one. Used by `restore.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from aiokafka import TopicPartition

from app.backup.place import Place, partition_counts
from app.backup.records import LogRecord, log_record
from projections.log_reading import read
from projections.offsets import LogOffsets
from schemas.errors import StopProcess
from schemas.topics import Topic

SETTLE_SECONDS: Final = 2.0
"""How long a request of an import that was killed may still be on its way into the broker."""

Wanted = Callable[[TopicPartition, int], LogRecord | None]
"""The record of the export that belongs at this offset; None where none does."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The first and the next offset of each partition."""

    begins: dict[TopicPartition, int]
    ends: dict[TopicPartition, int]


async def check_unused(place: Place) -> None:
    """The topics that the fold fills must be empty or absent. Raises StopProcess when a service has run there."""
    others = place.topics.folded_again()
    counts = await partition_counts(place.brokers, others)
    asked = [TopicPartition(topic.name, number) for topic in others for number in range(counts.get(topic.name, 0))]
    if not asked:
        return
    async with LogOffsets(place.brokers) as broker:
        used = sorted({tp.topic for tp, end in (await broker.ends(asked)).items() if end})
    if used:
        raise StopProcess(f"{', '.join(used)}: not empty; an import needs a Kafka on which the service has not run")


async def look(place: Place, topics: Sequence[Topic]) -> Standing:
    """Where the partitions stand, once nothing of an import that was killed is still on its way."""
    partitions = [tp for topic in topics for tp in place.partitions(topic)]
    async with LogOffsets(place.brokers) as broker:
        ends = await broker.ends(partitions)
        if any(ends.values()):
            await asyncio.sleep(SETTLE_SECONDS)
            ends = await broker.ends(partitions)
        return Standing(await broker.begins(partitions), ends)


async def check_begun(place: Place, standing: Standing, wanted: Wanted) -> None:
    """What stands in a partition must be the beginning of what is imported: its last record says.

    Raises StopProcess when it is not.
    """
    async with place.reading() as consumer:
        for tp, end in standing.ends.items():
            if end <= standing.begins[tp]:
                continue  # empty
            found = None
            async for records, _ in read(consumer, tp, end - 1, end):
                found = log_record(records[-1])
            ours = await asyncio.to_thread(wanted, tp, end - 1)
            if found is None or ours is None or _content(found) != _content(ours):
                raise StopProcess(
                    f"{tp.topic}/{tp.partition} is not empty, and what it holds is no beginning of this export: the"
                    f" record at offset {end - 1} is another one"
                )


def _content(record: LogRecord) -> tuple[object, ...]:
    return record.timestamp, record.key, record.value, record.headers
