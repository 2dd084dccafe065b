"""The retry pump: `media.jobs.retry.*` → `media.jobs`, each command when it is due. Run by `python -m app bridge`.

A tier's delay is fixed but for jitter, so a partition's head is due first; until then the partition is paused. A
command's way, and what a crash behind each step does:
1. read when its `retry_due` has come       it is read again at the next start
2. produced, acknowledged by the broker     the same; the repeat is the same message under the same `ce_id`
3. committed                                it is done
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog
from aiokafka import ConsumerRecord, TopicPartition

from bridges.handover import Item, Producer, hand_over
from bridges.messages import Message
from bridges.relay_loop import Membership, Progress, RelayLoop
from schemas.headers import RETRY_DUE, header, parse_timestamp
from schemas.telemetry import Counter, Gauge, Unmeasured
from schemas.topics import Topics

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class RetryMetrics:
    """`relayed`: the counter of a tier, from 1 on. `waiting`: commands in the tiers' partitions of this pump."""

    relayed: Callable[[int], Counter] = lambda tier: Unmeasured()
    waiting: Gauge = field(default_factory=Unmeasured)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class RetryPump(RelayLoop):
    """Relays due commands; `run` until `stop`. `producer` must be idempotent with acks=all.

    `longest_wait_s`: a command is due at the latest this long after it was first seen at its partition's head, so that
    no clock that was wrong holds a partition up for ever; longer than any tier's delay with its jitter.
    """

    def __init__(
        self,
        membership: Membership,
        producer: Producer,
        topics: Topics,
        *,
        longest_wait_s: float,
        max_records: int = 100,
        failure_rest_s: float = 5.0,
        measure_interval_s: float = 5.0,
        metrics: RetryMetrics | None = None,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._metrics = metrics or RetryMetrics()
        self._tiers = {topic.name: tier for tier, topic in enumerate(topics.retries, start=1)}
        super().__init__(
            membership,
            list(self._tiers),
            max_records=max_records,
            waiting=self._metrics.waiting,
            measure_interval_s=measure_interval_s,
        )
        self._producer = producer
        self._jobs_topic = topics.jobs.name
        self._longest_wait_s = longest_wait_s
        self._failure_rest_s = failure_rest_s
        self._clock = clock
        self._heads: dict[TopicPartition, tuple[int, float]] = {}

    async def handle(self, partition: TopicPartition, records: Sequence[ConsumerRecord]) -> Progress:
        """Hand over the records that are due, up to the first that is not."""
        items: list[Item] = []
        wait_s = 0.0
        for record in records:
            wait_s = self._wait_s(partition, record)
            if wait_s > 0:
                break
            items.append(Item((self._message(record),)))
        outcome = await hand_over(self._producer, items)
        done = outcome.leading(items)
        self._metrics.relayed(self._tiers[partition.topic]).inc(done)
        if done < len(items):
            first = records[done]
            log.error("retry_not_relayed", topic=first.topic, offset=first.offset, error=repr(outcome.error))
            return Progress(done, self._failure_rest_s)
        return Progress(done, wait_s)

    def _wait_s(self, partition: TopicPartition, record: ConsumerRecord) -> float:
        """Seconds until the record is due, at most 0 when it is. One that does not say it properly is due."""
        due = parse_timestamp(header(record.headers, RETRY_DUE))
        left = 0.0 if due is None else (due - self._clock()).total_seconds()
        if left <= 0:
            return 0.0
        offset, seen = self._heads.get(partition, (-1, 0.0))
        if offset != record.offset:
            seen = time.monotonic()
            self._heads[partition] = (record.offset, seen)
        return min(left, seen + self._longest_wait_s - time.monotonic())

    def _message(self, record: ConsumerRecord) -> Message:
        headers = [(name, value) for name, value in record.headers if name != RETRY_DUE]
        return Message(self._jobs_topic, record.key, record.value, headers)
