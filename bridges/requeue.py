"""The requeue executor: `media.deadletter.actions` → `media.jobs`, slowly. Run by `python -m app bridge`.

Operators requeue many letters at once; their commands go out at a bounded rate, so that live jobs are not held up.
An action's way, and what a crash behind each step does:
1. read, and its commands made of it              it is read again at the next start: the same commands
2. its commands produced, a few at a time         the same; all are produced again under the same `ce_id`s
3. all acknowledged by the broker, and committed  it is done
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
from bridges.messages import command_message
from bridges.relay_loop import Membership, Progress, RelayLoop
from schemas.commands import EmbedImages
from schemas.dead_letters import DeadLetterAction, decode_action
from schemas.errors import DeadLetter
from schemas.headers import header, utc_now
from schemas.telemetry import Counter, Gauge, Unmeasured
from schemas.topics import Topics, position_of

log = structlog.get_logger(__name__)

CE_SOURCE: Final = "/bridge/requeue"


@dataclass(frozen=True)
class RequeueMetrics:
    """`requeued`: commands submitted. `invalid`: records that are no action. `waiting`: actions not yet executed."""

    requeued: Counter = field(default_factory=Unmeasured)
    invalid: Counter = field(default_factory=Unmeasured)
    waiting: Gauge = field(default_factory=Unmeasured)


class Pace:
    """At most `rate` a second: what was taken must be waited for before more may be taken."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._free_at = clock()

    @property
    def wait_s(self) -> float:
        """Seconds until something may be taken."""
        return max(0.0, self._free_at - self._clock())

    def take(self, wanted: int) -> int:
        """How many of `wanted` may go out now: what one second allows, or none."""
        if self.wait_s > 0:
            return 0
        taken = min(wanted, max(1, int(self._rate)))
        self._free_at = self._clock() + taken / self._rate
        return taken


class RequeueExecutor(RelayLoop):
    """Executes actions; `run` until `stop`. `producer` must be idempotent with acks=all.

    `rate_per_second`: commands, over all actions. A `discard` asks for nothing here: the projector notes it.
    """

    def __init__(
        self,
        membership: Membership,
        producer: Producer,
        topics: Topics,
        *,
        rate_per_second: float = 20.0,
        failure_rest_s: float = 5.0,
        measure_interval_s: float = 5.0,
        metrics: RequeueMetrics | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._metrics = metrics or RequeueMetrics()
        super().__init__(
            membership,
            [topics.deadletter_actions.name],
            max_records=20,  # an action may name 10,000 letters and images: a megabyte or two
            waiting=self._metrics.waiting,
            measure_interval_s=measure_interval_s,
        )
        self._producer = producer
        self._topics = topics
        self._pace = Pace(rate_per_second)
        self._failure_rest_s = failure_rest_s
        self._clock = clock
        self._submitted: dict[TopicPartition, tuple[int, int]] = {}

    async def handle(self, partition: TopicPartition, records: Sequence[ConsumerRecord]) -> Progress:
        """Execute actions until the pace asks for a rest, which may be in the middle of one."""
        for done, record in enumerate(records):
            action = self._decode(record)
            if action is None or action.kind != "requeue":
                continue
            commands = action.commands
            rest_s = await self._submit(partition, record, action, commands)
            if rest_s is not None:
                return Progress(done, rest_s)
            log.info("requeued", action=action.id, who=action.who, commands=len(commands))
        return Progress(len(records))

    def _decode(self, record: ConsumerRecord) -> DeadLetterAction | None:
        try:
            return decode_action(record.value)
        except DeadLetter as error:
            self._metrics.invalid.inc()
            log.error("action_skipped", at=position_of(record), reason=str(error))
            return None

    async def _submit(
        self,
        partition: TopicPartition,
        record: ConsumerRecord,
        action: DeadLetterAction,
        commands: Sequence[EmbedImages],
    ) -> float | None:
        """Submit the action's next commands; seconds to rest before those that are left, None when none is."""
        offset, start = self._submitted.get(partition, (-1, 0))
        if offset != record.offset:
            start = 0
        count = self._pace.take(len(commands) - start) if commands else 0
        items = [self._item(record, command) for command in commands[start : start + count]]
        outcome = await hand_over(self._producer, items)
        sent = outcome.leading(items)
        self._metrics.requeued.inc(sent)
        self._submitted[partition] = (record.offset, start + sent)
        if sent < len(items):
            log.error("requeue_failed", action=action.id, at=position_of(record), error=repr(outcome.error))
            return self._failure_rest_s
        return None if start + sent == len(commands) else self._pace.wait_s

    def _item(self, record: ConsumerRecord, command: EmbedImages) -> Item:
        trace = header(record.headers, "traceparent")
        message = command_message(self._topics, command, ce_source=CE_SOURCE, now=self._clock(), traceparent=trace)
        return Item((message,))
