"""The fold agent: reads `media.pet-log`, folds each fact into its pet's rows, sends what follows from it.

Runs in the app `media-fold`, which owns the pet table. Everything that decides is in `tables`; here is only the order
of the calls: decode → fold → put rows → send outputs → acknowledge when all of it is durable.
"""

from __future__ import annotations

import time as clock
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from faust.types import EventT, StreamT, TopicT

from agents.dead_letters import send_dead_letter, unreadable_record
from agents.delivery import Delivery, Ticket
from agents.durable_table import DurableTable
from schemas.codec import keys_named
from schemas.errors import DeadLetter
from schemas.headers import build_headers, header, parse_timestamp
from schemas.pet_keys import NO_KEYS, KeyReader
from schemas.telemetry import Counter, Histogram, Unmeasured
from tables.log import fold_record
from tables.outputs import Channel
from tables.store import Applied, PetStore

log = structlog.get_logger(__name__)
SOURCE = "/fold"


@dataclass
class FoldMetrics:
    """What the fold counts. `job_seconds`: from enqueued to settled, successful jobs."""

    events: Counter = field(default_factory=Unmeasured)
    repeated: Counter = field(default_factory=Unmeasured)
    succeeded: Counter = field(default_factory=Unmeasured)
    failed: Counter = field(default_factory=Unmeasured)
    job_seconds: Histogram = field(default_factory=Unmeasured)
    versions: Counter = field(default_factory=Unmeasured)
    seconds: Histogram = field(default_factory=Unmeasured)


async def _always() -> None:
    """Nobody else folds."""


class Folder:
    """Folds events into `table` and sends outputs to `topics` (one per channel, `deadletter` among them).

    `keys`: open sealed facts. `check_turn`: called once in each generation of the group, before the first event; raises
    when another generation of the tables folds.
    """

    def __init__(
        self,
        delivery: Delivery,
        table: DurableTable,
        topics: dict[Channel, TopicT],
        metrics: FoldMetrics | None = None,
        keys: KeyReader | None = None,
        check_turn: Callable[[], Awaitable[None]] = _always,
    ) -> None:
        self._delivery = delivery
        self._table = table
        self._topics = topics
        self._metrics = metrics or FoldMetrics()
        self._store = PetStore(table.get)
        self._keys = keys or NO_KEYS
        self._check_turn = check_turn
        self._checked = -1

    async def run(self, stream: StreamT[Any]) -> None:
        """The agent's body. No exception leaves it: what is not a dead letter ends the process."""
        async for event in stream.noack().events():
            try:
                await self._check(event.message.generation_id)
                ticket = await self._delivery.admit(event)
                if ticket is None:
                    continue
                await self._keys.need(keys_named(event.message.value or b""))
                self._handle(ticket, event)
                await ticket.publish()
                ticket.close()
            except Exception as error:
                log.exception("fold_failed", partition=event.message.partition, offset=event.message.offset)
                self._delivery.abort(f"fold of offset {event.message.offset} failed: {error!r}")

    async def _check(self, generation: int) -> None:
        """After the group was joined and not before: whoever takes over waits until it is empty (app.rebuild)."""
        if generation != self._checked:
            await self._check_turn()
            self._checked = generation

    def _handle(self, ticket: Ticket, event: EventT) -> None:
        """Fold one event: no await, so that puts and their changelog records stay together."""
        message = event.message
        started = clock.perf_counter()
        try:
            envelope, fact, applied = fold_record(
                self._store,
                message.partition,
                message.offset,
                message.key,
                message.value,
                frontier=ticket.frontier,
                generation=message.generation_id,
                keys=self._keys,
            )
        except DeadLetter as error:
            record = unreadable_record("fact", message, str(error))
            send_dead_letter(ticket, self._topics["deadletter"], record, source=SOURCE, key=message.key)
            log.warning("fact_dead_lettered", reason=str(error), offset=message.offset)
            return
        self._metrics.seconds.observe(clock.perf_counter() - started)
        ticket.put(self._table, applied.records)
        for output in applied.outputs:
            headers = build_headers(
                event_id=output.id,
                event_type=output.type,
                source=SOURCE,
                time=envelope.time,
                traceparent=header(message.headers, "traceparent"),
            )
            ticket.send(
                self._topics[output.channel],
                key=output.key or message.key,
                value=output.value or None,
                headers=headers,
                partition=message.partition if output.key else None,
            )
        self._measure(applied, fact, envelope.time)

    def _measure(self, applied: Applied, fact: Any, time: str) -> None:
        if applied.repeated:
            self._metrics.repeated.inc()
            return
        self._metrics.events.inc()
        channels = {output.channel for output in applied.outputs}
        if "versions" in channels:
            self._metrics.versions.inc()
        if "deadletter" in channels:
            self._metrics.failed.inc()
        elif "status" in channels:
            self._metrics.succeeded.inc()
            enqueued, settled = parse_timestamp(fact.job.enqueued_at), parse_timestamp(time)
            if enqueued and settled:
                self._metrics.job_seconds.observe((settled - enqueued).total_seconds())
