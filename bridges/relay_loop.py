"""The loop that reads topics as a consumer group and does something with each record before it commits it.

Base of `bridges.retries` and `bridges.requeue`, which say in `handle` what is to be done. Plain aiokafka, no Faust: a
partition that must wait is paused and sought back, so that nothing waits in memory.

    poll ─▶ handle(partition, records) ─▶ Progress ┬▶ the first `done` of them: committed
                                                   └▶ the others: sought back, partition paused for `rest_s`

A crash in front of the commit hands the same records to `handle` again, so what it does must be harmless to repeat.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import IllegalStateError, KafkaError

from bridges.backoff import Backoff
from bridges.tasks import Loop, end_tasks
from schemas.errors import RetryLater, cancelled_by_client
from schemas.telemetry import Gauge, Unmeasured

log = structlog.get_logger(__name__)

POLL_SECONDS: Final = 0.5
KAFKA_SECONDS: Final = 5.0
"""How long one question to the broker (commit, end offsets, leaving the group) may take."""
KAFKA_ERRORS: Final = (KafkaError, OSError, TimeoutError)


class Membership(Protocol):
    """How to join the consumer group: static, from the beginning on, without automatic commits."""

    @property
    def group_id(self) -> str:
        """The group's name."""
        ...

    def consumer(self) -> Any:
        """A fresh aiokafka consumer that has not started and subscribes to nothing."""
        ...


@dataclass(frozen=True)
class Progress:
    """What became of a partition's records: the first `done` need never be read again.

    `rest_s`: seconds that the partition rests before the others are read again.
    """

    done: int
    rest_s: float = 0.0


class RelayLoop(Loop, ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Reads `topics`; `run` until `stop`. Holds at most `max_records` records, and what the client has fetched.

    `waiting` is told every `measure_interval_s` how many records of our partitions are not done.
    """

    def __init__(
        self,
        membership: Membership,
        topics: Sequence[str],
        *,
        max_records: int = 100,
        waiting: Gauge | None = None,
        measure_interval_s: float = 5.0,
    ) -> None:
        super().__init__()
        self._membership = membership
        self._names = list(topics)
        self._max_records = max_records
        self._waiting = waiting or Unmeasured()
        self._measure_interval_s = measure_interval_s
        self._measure_at = 0.0
        self._consumer: Any = None
        self._resting: dict[TopicPartition, float] = {}
        self._uncommitted: dict[TopicPartition, int] = {}
        self._generation = 0

    @abc.abstractmethod
    async def handle(self, partition: TopicPartition, records: Sequence[ConsumerRecord]) -> Progress:
        """Do what is to be done with records of one partition, in their order."""

    async def run(self) -> None:
        """Relay until `stop`. Outlives Kafka being away; raises StopProcess when the producer is broken."""
        self._task = self._task or asyncio.current_task()
        self._working = asyncio.create_task(self._work())
        try:
            await asyncio.wait({self._working})
        finally:
            await end_tasks([self._working])
            await self._disconnect()
        if not self._working.cancelled():
            self._working.result()

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """Forget where they stand: the next owner goes on from what is committed."""
        self._forget(revoked)

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """Forget them of partitions that were ours before, too: the client goes on from what is committed."""
        self._forget(assigned)

    def log_end(self, partition: TopicPartition) -> int:
        """Where the partition ended when it was last fetched; 0 when it is no longer ours."""
        assigned = self._consumer is not None and partition in self._consumer.assignment()
        return (self._consumer.highwater(partition) or 0) if assigned else 0

    def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        self._generation += 1
        for partition in partitions:
            self._resting.pop(partition, None)
            self._uncommitted.pop(partition, None)

    async def _work(self) -> None:
        backoff = Backoff(self._stopping)
        while not self._stopping.is_set():
            try:
                with cancelled_by_client():
                    await self._connect()
                    while not self._stopping.is_set():
                        await self._cycle()
                        backoff.reset()
            except (*KAFKA_ERRORS, RetryLater) as error:
                log.warning(
                    "kafka_unavailable", group=self._membership.group_id, error=repr(error), tries=backoff.tries
                )
                await self._disconnect()
                await backoff.wait()

    async def _connect(self) -> None:
        self._consumer = self._membership.consumer()
        self._consumer.subscribe(self._names, listener=self)
        await self._consumer.start()
        log.info("relay_started", group=self._membership.group_id, topics=self._names)

    async def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        self._resting.clear()
        self._uncommitted.clear()
        if consumer is None:
            return
        try:
            await asyncio.wait_for(consumer.stop(), KAFKA_SECONDS)
        except KAFKA_ERRORS as error:
            log.warning("consumer_stop_failed", group=self._membership.group_id, error=repr(error))

    async def _cycle(self) -> None:
        now = asyncio.get_running_loop().time()
        self._wake(now)
        nearest = min(self._resting.values(), default=now + POLL_SECONDS)
        timeout_ms = max(1, int(1000 * min(POLL_SECONDS, nearest - now)))
        polled = await self._consumer.getmany(timeout_ms=timeout_ms, max_records=self._max_records)
        generation = self._generation
        for partition, records in polled.items():
            if self._stopping.is_set():
                break  # not committed, so read again at the next start
            progress = await self.handle(partition, records)
            if generation != self._generation:
                break  # whoever has the partition now, perhaps we again, goes on from what is committed
            self._note(partition, records, progress)
        await self._commit()
        await self._measure_sometimes()

    def _wake(self, now: float) -> None:
        for partition in [each for each, until in self._resting.items() if until <= now]:
            del self._resting[partition]
            with suppress(IllegalStateError):  # no longer ours
                self._consumer.resume(partition)

    def _note(self, partition: TopicPartition, records: Sequence[ConsumerRecord], progress: Progress) -> None:
        if progress.done:
            self._uncommitted[partition] = records[progress.done - 1].offset + 1
        if progress.done == len(records):
            return
        with suppress(IllegalStateError):  # no longer ours
            self._consumer.seek(partition, records[progress.done].offset)
            self._consumer.pause(partition)
            self._resting[partition] = asyncio.get_running_loop().time() + progress.rest_s

    async def _commit(self) -> None:
        """Tell the group; when it fails, the next cycle tells it again, or the records are handled again."""
        assigned = self._consumer.assignment()
        offsets = {partition: offset for partition, offset in self._uncommitted.items() if partition in assigned}
        if not offsets:
            return
        try:
            await asyncio.wait_for(self._consumer.commit(offsets), KAFKA_SECONDS)
        except KAFKA_ERRORS as error:
            log.info("not_committed", group=self._membership.group_id, error=repr(error))
            return
        for partition in offsets:
            self._uncommitted.pop(partition, None)

    async def _measure_sometimes(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._measure_at:
            return
        self._measure_at = now + self._measure_interval_s
        try:
            self._waiting.set(await asyncio.wait_for(self._left(), KAFKA_SECONDS))
        except KAFKA_ERRORS as error:
            log.info("not_measured", group=self._membership.group_id, error=repr(error))

    async def _left(self) -> int:
        assigned = self._consumer.assignment()
        ends = await self._consumer.end_offsets(assigned) if assigned else {}
        return sum([end - await self._consumer.position(partition) for partition, end in ends.items()])
