"""Writes records to one partition, each at the offset that it must have. Used by `restore.py`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition

from app.backup.records import LogRecord
from schemas.errors import StopProcess


class PartitionWriter:
    """`end`: the offset of the next record. `producer`: idempotent with acks=all; its batch size bounds a request.

    One request at a time: what the broker has is always a beginning of what was given, whenever we are killed.
    """

    def __init__(self, producer: AIOKafkaProducer, tp: TopicPartition, end: int) -> None:
        self._producer = producer
        self._tp = tp
        self.end = end

    async def write(self, records: Iterable[LogRecord]) -> None:
        """Append them with their timestamps, keys, values and headers; their own offsets are the caller's to see to.

        Returns when the broker has all of them. Raises StopProcess when it has put one elsewhere: somebody else writes.
        """
        batch = self._producer.create_batch()
        for record in records:
            if not _append(batch, record):
                await self._send(batch)
                batch = self._producer.create_batch()
                _append(batch, record)  # an empty batch takes any record
        if batch.record_count():
            await self._send(batch)

    async def _send(self, batch: Any) -> None:
        number = batch.record_count()
        batch.close()
        sent = await (await self._producer.send_batch(batch, self._tp.topic, partition=self._tp.partition))
        if sent.offset != self.end:
            raise StopProcess(
                f"{self._tp.topic}/{self._tp.partition}: offset {self.end} was to come, the broker gave {sent.offset}:"
                " somebody else writes to it. Delete the topics, stop every role, and import again"
            )
        self.end += number


def _append(batch: Any, record: LogRecord) -> bool:
    # In ms, whatever the client's documentation says.
    added = batch.append(timestamp=record.timestamp, key=record.key, value=record.value, headers=list(record.headers))
    return added is not None
