"""Nothing is lost, nothing counts twice: in-order acknowledgement after everything an event caused is durable.

Every agent iterates `stream.noack().events()` and takes a ticket for each event:

    ticket = await delivery.admit(event)      waits for room; None: an event of an older generation, it is read again
    ticket.put(table, records)                writes the local table and queues its changelog records, in this order
    await ticket.send(topic, …)               queues an output
    await ticket.publish()                    hands everything queued to the producer, in order, without waiting
    ticket.close()                            nothing more will come

A partition's tickets stand in a queue. The head is acknowledged once it is closed and the broker has acknowledged all
that it published; then the next. Any failed send ends the process: what was not acknowledged is read again by the
next owner. docs/delivery.md numbers the steps and says what a crash at each does.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import structlog
from faust.streams import _current_event
from faust.types import AppT, EventT, TopicT

from agents.abort import Abort, abort_process
from agents.durable_table import DurableTable
from schemas.headers import Headers
from schemas.telemetry import Gauge, Unmeasured
from tables.store import Record

log = structlog.get_logger(__name__)


@dataclass
class _Partition:
    """Tickets of one partition in one generation. `expected`: next offset to read, None when any may come."""

    generation: int
    expected: int | None
    tickets: deque[Ticket] = field(default_factory=deque)


class Ticket:
    """One event on its way; see the module. Not for use after `close`."""

    def __init__(self, delivery: Delivery, event: EventT, partition: _Partition) -> None:
        self.event = event
        self._delivery = delivery
        self._partition = partition
        self._open = 1  # sends not yet acknowledged, and one for not being closed
        self._queued: list[tuple[TopicT, Any]] = []

    @property
    def frontier(self) -> int:
        """Last offset that nobody will read again: durable, acknowledged and committed.

        Not the last one acknowledged here: another worker, that takes over before the commit, reads from the commit on.
        """
        return self._delivery.committed(self.event.message.tp) - 1

    @property
    def current(self) -> bool:
        """Whether the partition is still ours. When it is not, the event is read again and must have no effect here."""
        return bool(self._partition.generation == self._delivery.app.consumer_generation_id)

    def put(self, table: DurableTable, records: Iterable[Record]) -> None:
        """Write `records` (None deletes) to the table's local store and queue their changelog records."""
        _current_event.set(weakref.ref(self.event))  # Faust takes a put's partition from the current event
        for key, value in records:
            if value is None:
                del table[key]
            else:
                table[key] = value
        self._queued += [(table.changelog_topic, record) for record in table.take_unpublished()]

    def send(self, topic: TopicT, *, key: bytes | None, value: bytes, headers: Headers) -> None:
        """Queue one message."""
        self._queued.append((topic, topic.as_future_message(key=key, value=value, headers=headers)))

    async def publish(self) -> list[asyncio.Future[Any]]:
        """Hand the queue to the producer, in order. Returns the futures of the broker's acknowledgements."""
        queued, self._queued = self._queued, []
        futures = []
        for topic, message in queued:
            future = await topic.publish_message(message, wait=False)
            self._open += 1
            future.add_done_callback(self._acknowledged)
            futures.append(future)
        return futures

    def close(self) -> None:
        """Nothing more will be published for this event."""
        if self._queued:
            self._delivery.abort("a ticket was closed with messages that were never published")
        self._settle()

    @property
    def settled(self) -> bool:
        """Whether it is closed and all it published is durable."""
        return self._open == 0

    def _acknowledged(self, future: asyncio.Future[Any]) -> None:
        if future.cancelled() or future.exception() is not None:
            reason = "cancelled" if future.cancelled() else repr(future.exception())
            self._delivery.abort(f"the broker did not take a message: {reason[:300]}")
        self._settle()

    def _settle(self) -> None:
        self._open -= 1
        if self._open == 0:
            self._delivery.advance(self._partition)


class Delivery:
    """Tickets of one app's source topic. At most `window` events are in flight.

    `contiguous`: the source topic has no holes, so a skipped offset means that the client lost an event: abort. False
    for a topic whose oldest messages may have been deleted before they were read.
    """

    def __init__(
        self,
        app: AppT,
        *,
        window: int = 256,
        contiguous: bool = True,
        open_events: Gauge | None = None,
        abort: Abort = abort_process,
    ) -> None:
        self.app = app
        self.abort = abort
        self._window = window
        self._contiguous = contiguous
        self._open_events = open_events or Unmeasured()
        self._in_flight = 0
        self._partitions: dict[Any, _Partition] = {}
        self._room = asyncio.Event()

    async def admit(self, event: EventT) -> Ticket | None:
        """A ticket for `event`, once there is room; None when it belongs to an older generation."""
        while self._in_flight >= self._window:
            self._room.clear()
            await self._room.wait()
        message = event.message
        if message.generation_id != self.app.consumer_generation_id:
            return None
        partition = self._partition(message)
        self._check_contiguous(partition, message)
        partition.expected = message.offset + 1
        ticket = Ticket(self, event, partition)
        partition.tickets.append(ticket)
        self._in_flight += 1
        self._open_events.set(self._in_flight)
        return ticket

    def advance(self, partition: _Partition) -> None:
        """Acknowledge settled tickets from the head of the partition's queue, strictly in order."""
        while partition.tickets and partition.tickets[0].settled:
            ticket = partition.tickets.popleft()
            self._in_flight -= 1
            if ticket.current:
                ticket.event.ack()
        self._open_events.set(self._in_flight)
        self._room.set()

    def committed(self, tp: Any) -> int:
        """The offset from which the partition is read again, as the broker has confirmed it; 0 for none."""
        return self.app.consumer._committed_offset[tp] or 0

    def _partition(self, message: Any) -> _Partition:
        partition = self._partitions.get(message.tp)
        if partition is None or partition.generation != message.generation_id:
            if partition is not None:  # a new generation reads again from what is committed
                self._in_flight -= len(partition.tickets)
                partition.tickets.clear()
                self._room.set()
            committed = self.committed(message.tp)
            partition = _Partition(message.generation_id, committed if self._contiguous or committed else None)
            self._partitions[message.tp] = partition
        return partition

    def _check_contiguous(self, partition: _Partition, message: Any) -> None:
        if partition.expected is None or message.offset <= partition.expected:
            return
        skipped = f"{message.tp}: expected offset {partition.expected}, got {message.offset}"
        if self._contiguous:
            self.abort(f"events were skipped: {skipped}")
        log.error("events_skipped", detail=skipped)
