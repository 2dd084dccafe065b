"""One partition's records: decode, write with the position in one transaction, dead-letter what can never be written.

Called by `projections.runner` for each partition that a poll returned records of.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from aiokafka import ConsumerRecord, TopicPartition

from projections.batches import UNWRITABLE, BatchWriter, Decoded
from projections.positions import Position, advance
from projections.records import RecordDecoder
from projections.telemetry import ProjectorMetrics
from schemas.errors import DeadLetter, StopProcess, UnknownVersion
from schemas.topics import position_of
from schemas.versions import PetErased, PetVersion

log = structlog.get_logger(__name__)

DeadLetterSink = Callable[[ConsumerRecord, str], Awaitable[None]]
"""``await sink(record, reason)`` returns when the record stands durably in the dead-letter topic."""


class PositionMoved(Exception):
    """Another writer has moved the partition's position: ours is out of date, and nothing was written."""


class PartitionWriter:
    """Writes a partition's records in their order; every call may be repeated.

    `terminal_topic`: where `dead_letter` puts what cannot be written. A record of this topic itself that cannot be
    written is logged, counted and passed: to dead-letter it again would never end.
    """

    def __init__(
        self,
        *,
        pool: Any,
        decoder: RecordDecoder,
        writer: BatchWriter,
        dead_letter: DeadLetterSink,
        terminal_topic: str,
        metrics: ProjectorMetrics,
    ) -> None:
        self._pool = pool
        self._decoder = decoder
        self._writer = writer
        self._dead_letter = dead_letter
        self._terminal_topic = terminal_topic
        self._metrics = metrics
        self._reported: set[str] = set()

    async def write(
        self, tp: TopicPartition, position: Position, records: Sequence[ConsumerRecord]
    ) -> list[PetVersion | PetErased]:
        """Write those records that lie behind `position`, move it, and return versions and purges among all of them.

        Raises PositionMoved, StopProcess for a newer release's message, and whatever Postgres, Kafka or the dead-letter
        sink raise while they are away; then the call is to be repeated, and `position` says what is still to do.
        """
        written = sum(record.offset < position.written for record in records)
        repeated, fresh = await self._decode(records[:written], report=False), records[written:]
        decoded = await self._decode(fresh, report=True)
        if fresh:
            try:
                await self._transact(tp, position, decoded, fresh[-1].offset + 1)
            except UNWRITABLE as error:
                log.warning(
                    "batch_split", topic=tp.topic, partition=tp.partition, records=len(fresh), error=repr(error)
                )
                await self._write_singly(tp, position, fresh)
        self._reported.difference_update(map(position_of, fresh))
        return [item.message for item in (*repeated, *decoded) if isinstance(item.message, PetVersion | PetErased)]

    async def _write_singly(self, tp: TopicPartition, position: Position, records: Sequence[ConsumerRecord]) -> None:
        for record in records:
            decoded = await self._decode([record], report=False)
            try:
                await self._transact(tp, position, decoded, record.offset + 1)
            except UNWRITABLE as error:
                await self._report(record, str(error))
                await self._transact(tp, position, [], record.offset + 1)

    async def _transact(
        self, tp: TopicPartition, position: Position, batch: Sequence[Decoded], next_offset: int
    ) -> None:
        started = time.perf_counter()
        async with self._pool.acquire() as connection, connection.transaction():
            if not await advance(connection, tp, position.written, next_offset):
                raise PositionMoved(f"{tp.topic}/{tp.partition} no longer stands at {position.written}")
            await self._writer.write(connection, batch)
        position.written = next_offset
        self._metrics.batch_seconds.observe(time.perf_counter() - started)

    async def _decode(self, records: Sequence[ConsumerRecord], *, report: bool) -> list[Decoded]:
        decoded = []
        for record in records:
            try:
                message = self._decoder.decode(record.topic, record.value, record.headers)
            except UnknownVersion as error:
                raise StopProcess(f"{position_of(record)}: {error}") from error
            except DeadLetter as error:
                if report:
                    await self._report(record, str(error))
                continue
            decoded.append(Decoded(record, message))
        return decoded

    async def _report(self, record: ConsumerRecord, reason: str) -> None:
        """Dead-letter a record once, however often Postgres makes its batch start again."""
        if position_of(record) in self._reported:
            return
        if record.topic == self._terminal_topic:
            self._metrics.unreadable_letters.inc()
            log.error("dead_letter_passed", at=position_of(record), reason=reason)
        else:
            await self._dead_letter(record, reason)
            log.error("record_dead_lettered", at=position_of(record), reason=reason)
        self._reported.add(position_of(record))
