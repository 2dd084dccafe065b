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
from datetime import datetime
from typing import Final

import structlog
from aiokafka import ConsumerRecord, TopicPartition

from bridges.handover import Item, Producer, hand_over
from bridges.messages import Message
from bridges.relay_loop import Membership, Progress, RelayLoop
from schemas.headers import RETRY_DUE, header, parse_timestamp, utc_now
from schemas.telemetry import Counter, Gauge, Unmeasured
from schemas.topics import Topics

log = structlog.get_logger(__name__)

LONGEST_WAIT: Final = 2.0
"""Of a tier's delay. Embed lengthens a delay by less than itself."""


@dataclass(frozen=True)
class RetryMetrics:
    """`relayed`: the counter of a tier, from 1 on. `waiting`: commands in the tiers' partitions of this pump."""

    relayed: Callable[[int], Counter] = lambda tier: Unmeasured()
    waiting: Gauge = field(default_factory=Unmeasured)


@dataclass(frozen=True, slots=True)
class _Held:
    """A head that was not due when it was first seen, and what lay behind it then: offsets `first` ≤ … < `end`.

    `until`: when all of it is due, whatever it says; on the monotonic clock.
    """

    first: int
    end: int
    until: float


class RetryPump(RelayLoop):
    """Relays due commands; `run` until `stop`. `producer` must be idempotent with acks=all.

    `delays_s`: seconds, one of each tier. Twice its tier's delay after a head was first seen, the head is due and so is
    everything that lay behind it then, whatever `retry_due` says: however many commands a wrong clock has dated, none
    waits for longer than four times the delay. An honest one of them has long been due by then.
    """

    def __init__(
        self,
        membership: Membership,
        producer: Producer,
        topics: Topics,
        *,
        delays_s: Sequence[float],
        max_records: int = 100,
        failure_rest_s: float = 5.0,
        measure_interval_s: float = 5.0,
        metrics: RetryMetrics | None = None,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics or RetryMetrics()
        self._tiers = {topic.name: tier for tier, topic in enumerate(topics.retries, start=1)}
        self._longest_s = {
            topic.name: LONGEST_WAIT * delay for topic, delay in zip(topics.retries, delays_s, strict=True)
        }
        super().__init__(
            membership,
            list(self._tiers),
            max_records=max_records,
            waiting=self._metrics.waiting,
            measure_interval_s=measure_interval_s,
        )
        self._producer = producer
        self._jobs_topic = topics.jobs.name
        self._failure_rest_s = failure_rest_s
        self._clock = clock
        self._monotonic = monotonic
        self._held: dict[TopicPartition, _Held] = {}

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
        now, held = self._monotonic(), self._held.get(partition)
        if held is None or not held.first <= record.offset < held.end:
            end = max(record.offset + 1, self.log_end(partition))
            held = self._held[partition] = _Held(record.offset, end, now + self._longest_s[partition.topic])
        return min(left, held.until - now)

    def _message(self, record: ConsumerRecord) -> Message:
        headers = [(name, value) for name, value in record.headers if name != RETRY_DUE]
        return Message(self._jobs_topic, record.key, record.value, headers)
