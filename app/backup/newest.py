"""Which records of a compacted topic are still valid: the last one of each key. Used by `export.py`.

Kafka removes the others in its own time. An export must not wait for that: a destroyed key would live on in it.
"""

from __future__ import annotations

from typing import Any

from aiokafka import TopicPartition

from projections.log_reading import read


async def newest(consumer: Any, tp: TopicPartition, start: int, end: int) -> frozenset[int]:
    """Offsets of the last record of each key in `start` … `end`; `consumer` as `Place.reading` gives it."""
    last: dict[bytes | None, int] = {}
    async for records, _ in read(consumer, tp, start, end):
        last |= {record.key: record.offset for record in records}
    return frozenset(last.values())
