"""One partition of the log into rows and changelog records, up to where the live fold has committed. A process each.

Batch by batch: folded over the rows, silently; the records of what has changed published and waited for, rows before
heads before deletions; then written to the rows together with the offset. A crash between the two, or a folder that is
lost, leads to the same records once more: rows are a function of the log, and of which keys a purge has destroyed. For
the latter, what the rows do not hold is taken back from the changelog first (`leftovers.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition

from agents.pet_keys import open_pet_keys
from app.rebuild.fold.job import FoldJob
from app.rebuild.fold.leftovers import checked, publish, take_back, take_back_unfinished
from app.rebuild.fold.live_tables import take_changelog
from app.rebuild.fold.overlay import Overlay
from projections.fold_state import FoldState
from projections.log_reading import log_consumer, log_end, read_facts
from projections.shadow.runs import Mark
from schemas.codec import decode_change
from schemas.pet_keys import KeyReader
from schemas.topics import MAX_MESSAGE_BYTES
from schemas.versions import PetVersion
from tables.replay import LogReplay
from tables.rows import is_head

BATCH_BYTES: Final = 32 * 2**20
"""Of changed rows, in memory and on their way to the broker."""


async def build_partition(job: FoldJob, progress: Callable[[Mark], None] = lambda mark: None) -> Mark:
    """Go on from what the rows hold to `job.end`. Raises UnknownVersion for a newer release's fact."""
    state = job.open_rows()
    consumer = log_consumer(job.bootstrap_servers)
    producer = AIOKafkaProducer(
        bootstrap_servers=job.bootstrap_servers,
        client_id="media-rebuild",
        acks="all",
        enable_idempotence=True,
        linger_ms=5,
        max_batch_size=2**20,  # 16 KB costs half the rate
        max_request_size=MAX_MESSAGE_BYTES,
    )
    try:
        await consumer.start()
        await producer.start()
        if job.restore_at >= 0 and state.offset == 0:
            await _restore(job, consumer, producer, state)
        await take_back(consumer, producer, _changelog(job), state)
        async with open_pet_keys(job.bootstrap_servers, job.keys_topic, partition=job.partition) as keys:
            return await _Build(job, consumer, producer, state, keys, progress).run()
    finally:
        await producer.stop()
        await consumer.stop()
        state.close()


async def _restore(job: FoldJob, consumer: Any, producer: Any, state: FoldState) -> None:
    """Rows that were there before. The offset is written last: cut off, it begins anew."""
    end = await log_end(consumer, _changelog(job))
    await take_changelog(consumer, _changelog(job), state, 0, offset_of=lambda _: 0)
    await take_back_unfinished(producer, _changelog(job), state)
    state.write(checked(end), job.restore_at)


def _changelog(job: FoldJob) -> TopicPartition:
    return TopicPartition(job.changelog, job.partition)


class _Build:
    def __init__(
        self,
        job: FoldJob,
        consumer: Any,
        producer: Any,
        state: FoldState,
        keys: KeyReader,
        progress: Callable[[Mark], None],
    ) -> None:
        self._job = job
        self._consumer = consumer
        self._producer = producer
        self._state = state
        self._progress = progress
        self._rows = Overlay(state)
        self._keys = keys
        self._replay = LogReplay(job.partition, rows=self._rows, keys=keys)
        self._mark = Mark(job.partition, next_offset=state.offset, end_offset=job.end)

    async def run(self) -> Mark:
        tp = TopicPartition(self._job.log, self._job.partition)
        async for records, reached in read_facts(self._consumer, tp, self._state.offset, self._job.end, self._keys):
            self._fold(records, reached)
            if self._rows.size >= BATCH_BYTES:
                await self._make_durable()
            self._progress(self._mark)
        await self._make_durable()
        return replace(self._mark, copied=True)

    def _fold(self, records: Sequence[Any], reached: int) -> None:
        versions = images = 0
        for record in records:
            for output in self._replay.apply(record.offset, record.key, record.value):
                change = decode_change(output.value) if output.channel == "versions" else None
                if isinstance(change, PetVersion):
                    versions += 1
                    images += len(change.members)
        self._mark = replace(
            self._mark,
            next_offset=reached,
            events=self._mark.events + len(records),
            versions=self._mark.versions + versions,
            images=self._mark.images + images,
        )

    async def _make_durable(self) -> None:
        if self._mark.next_offset == self._state.offset:
            return
        end = await publish(self._producer, _changelog(self._job), in_order(self._rows.changes))
        known = {} if end is None else checked(end)
        self._state.write({**self._rows.changes, **known}, self._mark.next_offset)
        self._rows.clear()


def in_order(changes: Mapping[bytes, bytes | None]) -> list[tuple[bytes, bytes | None]]:
    """Records in the order of `tables.store`: rows, then the heads that refer to them, then what nobody refers to."""

    def rank(change: tuple[bytes, bytes | None]) -> int:
        return 2 if change[1] is None else int(is_head(change[0]))

    return sorted(changes.items(), key=rank)
