"""The projector: reads commands, states, versions and dead letters, and keeps Postgres and the Redis cache up to date.

Run by `app` as the role `project`. A plain consumer whose position stands beside its rows:

1. poll                      records of the partitions that the group gave us
2. one transaction a chunk   position forward (only from where we believe it), rows
3. the cache                 once for each pet touched; Redis may be away
4. the group's offsets       only so that lag can be watched; nothing is read from them

A crash between 2 and 3 is answered by the cache's own position, see `projections.positions`.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import structlog
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import IllegalStateError, KafkaError

from projections.batches import BatchWriter, Replay
from projections.cache import AnswerCache
from projections.dead_letters import count_open
from projections.membership import Membership
from projections.partition import DeadLetterSink, PartitionWriter, PositionMoved
from projections.positions import Position, load_positions, store_cached
from projections.reader import ClusterReader
from projections.records import RecordDecoder
from projections.refresh import CacheRefresher
from projections.telemetry import ProjectorMetrics
from projections.text import moment
from projections.uncached import Uncached
from projections.waiting import Patience, Stopped, unless_set
from schemas.errors import StopProcess
from schemas.topics import Topics
from schemas.versions import PetVersion

log = structlog.get_logger(__name__)

POLL_MS: Final = 50
POLL_RECORDS: Final = 500
CHUNK_RECORDS: Final = 200
WRITERS: Final = 4
BOOKKEEPING_SECONDS: Final = 1.0
COUNTING_SECONDS: Final = 10.0
STOP_TIMEOUT: Final = 10.0
COMMIT_TIMEOUT: Final = 5.0


class Projector(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Keeps the projection up to date from `start` to `stop`; `run` is the same for a caller that waits.

    `pool`: an asyncpg pool of at least two connections. `cache`: None leaves Redis alone; a later projector that has
    one brings it everything that was written meanwhile. `replay`: see `projections.batches.Replay`. `dead_letter`: see
    `projections.partition.DeadLetterSink`.
    """

    def __init__(
        self,
        *,
        membership: Membership,
        topics: Topics,
        pool: Any,
        cache: AnswerCache | None,
        replay: Replay,
        dead_letter: DeadLetterSink,
        metrics: ProjectorMetrics | None = None,
    ) -> None:
        self._metrics = metrics or ProjectorMetrics()
        self._membership = membership
        self._pool = pool
        # Versions first: when a job is seen to have succeeded, its version is already readable.
        self._order = [
            topics.pet_versions.name,
            topics.jobs.name,
            topics.jobs_status.name,
            topics.deadletter.name,
            topics.deadletter_actions.name,
        ]
        self._cached_topic = "" if cache is None else self._order[0]
        self._writer = PartitionWriter(
            pool=pool,
            decoder=RecordDecoder(topics),
            writer=BatchWriter(replay=replay, metrics=self._metrics),
            dead_letter=dead_letter,
            terminal_topic=topics.deadletter.name,
            metrics=self._metrics,
        )
        self._refresher = (
            Uncached()
            if cache is None
            else CacheRefresher(reader=ClusterReader(pool), cache=cache, metrics=self._metrics)
        )
        self._positions: dict[TopicPartition, Position] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._bookkeeping_at = 0.0
        self._counting_at = 0.0
        self._consumer: Any = None
        self._stopping = asyncio.Event()
        self._patience = Patience("projector", self._stopping, self._metrics.postgres_errors)
        self._task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether it reads every partition that the group gave it, and nothing that it needs is away."""
        return not self.waits_for

    @property
    def waits_for(self) -> str:
        """What it waits for, in words for readiness; empty when ready."""
        if away := self._patience.waits_for:
            return f"waiting for {away}"
        assigned = self._consumer.assignment() if self._consumer is not None else ()
        if not assigned:
            return "joining the consumer group"
        return "" if all(tp in self._positions for tp in assigned) else "reading stored positions"

    @property
    def to_refresh(self) -> int:
        """About how many versions stand in the rows and were not brought to the cache yet."""
        behind = sum(at.written - at.seen for tp, at in self._positions.items() if tp.topic == self._cached_topic)
        return max(behind, len(self._refresher.stale))

    async def start(self) -> None:
        """Begin in the background. An error that ends the loop is raised by `stop` and `wait`."""
        self._task = asyncio.create_task(self.run(), name="projector")

    async def wait(self) -> None:
        """Returns when the loop has ended; raises what ended it."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Finish the batch in hand and leave the group."""
        self._stopping.set()
        if self._task is not None:
            await self._task

    async def run(self) -> None:
        """Project until `stop` is called. Raises StopProcess when going on would lose something."""
        try:
            await self._patience.until_done(self._connect)
            while not self._stopping.is_set():
                await self._patience.until_done(self._cycle)
            await self._patience.until_done(self._bookkeep)
        except Stopped:
            log.info("projector_stopped_while_waiting")
        finally:
            await self._disconnect()

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """Forget positions: the next owner moves them."""
        self._forget(revoked)

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """Forget positions, also of partitions that were ours before: the loop reads the stored ones."""
        self._forget(assigned)

    async def _connect(self) -> None:
        await self._disconnect()
        self._consumer = self._membership.consumer()
        self._consumer.subscribe(self._order, listener=self)
        # It waits for brokers that do not answer, and for the group, without a limit of its own.
        await unless_set(self._stopping, self._consumer.start())
        log.info("projector_started", group=self._membership.group_id, topics=self._order)

    async def _disconnect(self) -> None:
        if self._consumer is None:
            return
        consumer, self._consumer = self._consumer, None
        self._forget(list(self._positions))
        try:
            await asyncio.wait_for(consumer.stop(), STOP_TIMEOUT)
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("consumer_stop_failed", error=repr(error))

    async def _cycle(self) -> None:
        await self._take_positions()
        polled = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=POLL_RECORDS)
        groups: dict[int, list[TopicPartition]] = defaultdict(list)
        for tp in sorted(polled, key=lambda tp: self._order.index(tp.topic)):
            groups[tp.partition].append(tp)
        await self._write_groups(list(groups.values()), polled)
        await self._refresher.retry()
        await self._bookkeep_sometimes()

    async def _take_positions(self) -> None:
        """Seek partitions that are new to us to their stored positions."""
        missing = [tp for tp in self._consumer.assignment() if tp not in self._positions]
        if not missing:
            return
        async with self._pool.acquire() as connection:
            stored = await load_positions(connection, missing, self._cached_topic)
        begins, ends = await self._consumer.beginning_offsets(missing), await self._consumer.end_offsets(missing)
        for tp, position in stored.items():
            if position.written > ends[tp]:
                raise StopProcess(
                    f"{tp.topic}/{tp.partition} ends at {ends[tp]}, but this database has read up to"
                    f" {position.written}: it belongs to another broker, or the topic was made anew"
                )
            # What the topic no longer holds cannot be read again.
            position.seen = min(max(position.seen, begins[tp]), position.written)
            # Revoked in the meantime: nothing to seek.
            with suppress(IllegalStateError):
                self._consumer.seek(tp, position.resume)
                self._positions[tp] = position

    async def _write_groups(
        self, groups: list[list[TopicPartition]], polled: dict[TopicPartition, list[ConsumerRecord]]
    ) -> None:
        """Partition numbers side by side; the topics of one number one after the other: they touch the same rows."""
        slots = asyncio.Semaphore(WRITERS)

        async def write_group(group: list[TopicPartition]) -> None:
            async with slots:
                for tp in group:
                    await self._write_partition(tp, polled[tp])

        if len(groups) == 1:
            await write_group(groups[0])
            return
        outcomes = await asyncio.gather(*(write_group(group) for group in groups), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _write_partition(self, tp: TopicPartition, records: list[ConsumerRecord]) -> None:
        position = self._positions.get(tp)
        if position is None:
            # Given to us during the poll: the next cycle seeks, and reads these records again.
            return
        for start in range(0, len(records), CHUNK_RECORDS):
            chunk = records[start : start + CHUNK_RECORDS]
            try:
                versions = await self._patience.until_done(partial(self._writer.write, tp, position, chunk))
            except PositionMoved as moved:
                log.warning("position_moved", reason=str(moved))
                self._forget([tp])
                return
            await self._refresher.refresh({version.pet_id for version in versions})
            position.seen = chunk[-1].offset + 1
            self._observe(versions)

    async def _bookkeep_sometimes(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._bookkeeping_at:
            self._bookkeeping_at = now + BOOKKEEPING_SECONDS
            await self._bookkeep()
        if now >= self._counting_at:
            self._counting_at = now + COUNTING_SECONDS
            async with self._pool.acquire() as connection:
                self._metrics.open_letters.set(await count_open(connection))

    async def _bookkeep(self) -> None:
        """Store how far the cache is up to date, and tell the group how far the rows are."""
        written = {tp: position.written for tp, position in self._positions.items()}
        cached = {
            tp: position.seen
            for tp, position in self._positions.items()
            if tp.topic == self._cached_topic and position.seen > position.cached
        }
        if cached and not self._refresher.stale:
            async with self._pool.acquire() as connection:
                await store_cached(connection, cached)
            for tp, offset in cached.items():
                if tp in self._positions:
                    self._positions[tp].cached = offset
        moved = {tp: offset for tp, offset in written.items() if self._committed.get(tp) != offset}
        if not moved:
            return
        try:
            await asyncio.wait_for(self._consumer.commit(moved), COMMIT_TIMEOUT)
            self._committed.update(moved)
        except (KafkaError, IllegalStateError, TimeoutError) as error:
            log.info("lag_not_committed", error=repr(error))

    def _observe(self, versions: Sequence[PetVersion]) -> None:
        now = time.time()
        for version in versions:
            if version.pet_id not in self._refresher.stale:
                self._metrics.readable_seconds.observe(max(0.0, now - moment(version.time, "time").timestamp()))

    def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        for tp in partitions:
            self._positions.pop(tp, None)
            self._committed.pop(tp, None)
