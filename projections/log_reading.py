"""One partition of the log, in batches, from an offset up to where it ends now.

Used by rebuilds (`projections.shadow`), by `projections.verify`, by `app.whatif` and by `app.backup`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from schemas.codec import keys_named
from schemas.errors import StopProcess
from schemas.pet_keys import KeyReader

POLL_MS: Final = 1000
POLL_RECORDS: Final = 1000
FETCH_BYTES: Final = 8 * 2**20


def log_consumer(bootstrap_servers: str, *topics: str) -> AIOKafkaConsumer:
    """A consumer in no group, not started; nothing of it is ever committed.

    `topics`: subscribed at first, since only then does the client learn which partitions they have.
    """
    return AIOKafkaConsumer(
        *topics,
        bootstrap_servers=bootstrap_servers,
        client_id="media-rebuild",
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_wait_ms=50,
    )


async def log_end(consumer: Any, tp: TopicPartition) -> int:
    """The next offset that the partition will give."""
    end: int = (await consumer.end_offsets([tp]))[tp]
    return end


async def need_beginning(consumer: Any, tp: TopicPartition) -> None:
    """Raises StopProcess when the partition lacks its first records: nothing follows from what is left."""
    if (await consumer.beginning_offsets([tp]))[tp] > 0:
        where = f"{tp.topic}/{tp.partition}"
        raise StopProcess(f"{where} has lost its beginning: nothing follows from what is left")


async def read_facts(
    consumer: Any, tp: TopicPartition, start: int, end: int, keys: KeyReader
) -> AsyncGenerator[tuple[Sequence[ConsumerRecord], int], None]:
    """As `read`, of the log; `keys` have been asked for those that the records name."""
    async for records, reached in read(consumer, tp, start, end):
        await keys.need(key_id for record in records for key_id in keys_named(record.value or b""))
        yield records, reached


async def read(
    consumer: Any, tp: TopicPartition, start: int, end: int
) -> AsyncGenerator[tuple[Sequence[ConsumerRecord], int], None]:
    """(records, next offset) from `start` on, until the next offset is `end` or later. Yields nothing at the end."""
    if start >= end:
        return
    consumer.assign([tp])
    consumer.seek(tp, start)
    reached = start
    while reached < end:
        polled = await consumer.getmany(tp, timeout_ms=POLL_MS, max_records=POLL_RECORDS)
        records = [record for record in polled.get(tp, ()) if record.offset < end]
        # Behind the last record there may be offsets without one (a transaction's marker): the position knows.
        reached = min(end, await consumer.position(tp)) if records or not polled else end
        if records:
            yield records, reached
