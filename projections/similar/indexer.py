"""The loop that keeps the similarity index: reads the log and the versions, renews directions, builds what is missing.
Run by `app` as part of the role `project` when SIMILARITY is on; several may run, a partition is read by one at a time.

A round, and what a crash behind each step does:
1. a pet's rows were replaced: look at all     noted with the pets, in one transaction
2. the log: vectors, removals, purges          position and rows in one transaction: read again, or not at all
3. versions: pets to look at                   the same
4. directions of pets that are due             a pet is looked at again
5. indexes, when the log is caught up with     what is half-built is dropped and built again
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final

import structlog
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from projections.log_reading import log_consumer, read_facts
from projections.positions import advance, stored_positions
from projections.queries import load
from projections.rounds import Rounds
from projections.similar.directions import SIMILAR, follow_generation, renew_some
from projections.similar.graphs import build_missing
from projections.similar.models import list_models, need_extension
from projections.similar.photos import write_facts, write_versions
from projections.similar.telemetry import SimilarMetrics
from schemas.errors import StopProcess
from schemas.pet_keys import NO_KEYS, KeyReader
from schemas.topics import Topics

log = structlog.get_logger(__name__)

INTERVAL: Final = 1.0
RECORDS: Final = 50
"""Of one transaction: a record has at most 64 photos."""
CAUGHT_UP: Final = 500
"""Facts behind, at which indexes are built."""
_NOTHING: Final = SimilarMetrics()

Write = Callable[[Any, Sequence[ConsumerRecord]], Awaitable[int]]


class SimilarIndexer(Rounds):
    """Indexes every `interval_s`; `run` until `stop`. `keys`: open the log's facts.

    `pool`: an asyncpg pool of at least two connections.
    """

    def __init__(
        self,
        *,
        pool: Any,
        bootstrap_servers: str,
        topics: Topics,
        keys: KeyReader,
        interval_s: float = INTERVAL,
        metrics: SimilarMetrics = _NOTHING,
    ) -> None:
        super().__init__("similar_index", interval_s, metrics.errors)
        self._pool = pool
        self._bootstrap_servers = bootstrap_servers
        self._log, self._versions = topics.pet_log.name, topics.pet_versions.name
        self._keys = keys
        self._metrics = metrics
        self._consumer: Any = None
        self._partitions: list[TopicPartition] = []
        self._checked = False
        self.behind = 0

    async def run(self) -> None:
        """As `Rounds.run`. Raises StopProcess when the database lacks the extension, too."""
        try:
            await super().run()
        finally:
            await self._disconnect()

    async def round(self) -> None:
        """Bring the index up to where the log ends now. Raises StopProcess when going on would leave something out."""
        try:
            await self._round()
        except KafkaError:
            await self._disconnect()
            raise

    async def _round(self) -> None:
        if not self._checked:
            async with self._pool.acquire() as connection:
                await need_extension(connection)
            self._checked = True
        if self._consumer is None:
            await self._connect()
        async with self._pool.acquire() as connection:
            if await follow_generation(connection, self._versions):
                log.info("similar_index_looks_at_all", reason="the live rows are others than those looked at")
        await self._read(self._log, self._write_facts, self._keys)
        await self._read(self._versions, self._write_versions, NO_KEYS)
        await self._renew()
        await self._observe()
        if self.behind <= CAUGHT_UP:
            async with self._pool.acquire() as connection:
                await build_missing(connection)

    async def _connect(self) -> None:
        consumer = log_consumer(self._bootstrap_servers, self._log, self._versions)
        try:
            await consumer.start()
            self._partitions = sorted(
                TopicPartition(topic, number)
                for topic in (self._log, self._versions)
                for number in consumer.partitions_for_topic(topic) or ()
            )
            consumer.unsubscribe()
        except BaseException:
            await consumer.stop()
            raise
        self._consumer = consumer

    async def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def _read(self, topic: str, write: Write, keys: KeyReader) -> None:
        """Read each partition of a topic that has something new and that nobody else reads."""
        mine = [tp for tp in self._partitions if tp.topic == topic]
        ends, begins = await self._consumer.end_offsets(mine), await self._consumer.beginning_offsets(mine)
        async with self._pool.acquire() as connection:
            stored = await stored_positions(connection, SIMILAR)
        for tp in (tp for tp in mine if stored.get(tp, 0) != ends[tp]):
            async with self._pool.acquire() as connection:
                if not await connection.fetchval(load("lock_similar_partition"), tp.partition):
                    continue
                position = await self._position(connection, tp, begins[tp], ends[tp])
                async with aclosing(read_facts(self._consumer, tp, position, ends[tp], keys)) as batches:
                    async for records, reached in batches:
                        if not await self._write(connection, tp, position, records, reached, write):
                            break
                        position = reached

    async def _position(self, connection: Any, tp: TopicPartition, begin: int, end: int) -> int:
        """The next offset. Raises StopProcess where reading on would leave something out without a word."""
        await connection.execute(load("insert_position"), SIMILAR, tp.topic, tp.partition)
        position = (await stored_positions(connection, SIMILAR))[tp]
        where = f"{tp.topic}/{tp.partition}"
        if position > end:
            raise StopProcess(
                f"{where} ends at {end}, but the similarity index has read up to {position}: `python -m app similar"
                " rebuild`; after Kafka was restored: `python -m app log adopt`"
            )
        if position >= begin:
            return position
        if tp.topic == self._log:
            raise StopProcess(f"{where} has lost its beginning: nothing follows from what is left")
        # Versions are kept for 90 days. Pets that moved meanwhile are found by looking at all.
        log.warning("similar_index_missed_versions", at=where, read_up_to=position, begins_at=begin)
        await connection.execute(load("raise_position"), SIMILAR, tp.topic, tp.partition, begin)
        await connection.execute(load("forget_similar_generation"))
        return begin

    async def _write(
        self,
        connection: Any,
        tp: TopicPartition,
        position: int,
        records: Sequence[ConsumerRecord],
        reached: int,
        write: Write,
    ) -> bool:
        """Write what was read, some records a transaction; False when the position was moved by somebody else."""
        for start in range(0, len(records), RECORDS):
            chunk = records[start : start + RECORDS]
            following = reached if start + RECORDS >= len(records) else chunk[-1].offset + 1
            begun = time.perf_counter()
            async with connection.transaction():
                await connection.execute(load("share_similar_models"))
                if not await advance(connection, tp, position, following, SIMILAR):
                    return False
                written = await write(connection, chunk)
            position = following
            self._metrics.batch_seconds.observe(time.perf_counter() - begun)
            if tp.topic == self._log:
                self._metrics.photos.inc(written)
        return True

    async def _write_facts(self, connection: Any, records: Sequence[ConsumerRecord]) -> int:
        return await write_facts(connection, records, self._keys)

    async def _write_versions(self, connection: Any, records: Sequence[ConsumerRecord]) -> int:
        return await write_versions(connection, records)

    async def _renew(self) -> None:
        while True:
            async with self._pool.acquire() as connection:
                pets, renewed = await renew_some(connection, self._log)
            self._metrics.directions.inc(renewed)
            if not pets:
                return

    async def _observe(self) -> None:
        mine = [tp for tp in self._partitions if tp.topic == self._log]
        ends = await self._consumer.end_offsets(mine)
        async with self._pool.acquire() as connection:
            stored = await stored_positions(connection, SIMILAR)
            tables = [model.photos for model in await list_models(connection)]
            rows = [await connection.fetchval(load("estimate_rows_of"), table) for table in tables]
        self.behind = sum(max(0, ends[tp] - stored.get(tp, 0)) for tp in mine)
        self._metrics.lag.set(self.behind)
        self._metrics.rows.set(sum(row or 0 for row in rows))
