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
    """Tickets of one partition in one generation.

    `expected`: next offset to read. `finished`: behind the last event acknowledged.
    """

    generation: int
    expected: int
    finished: int | None = None
    tickets: deque[Ticket] = field(default_factory=deque)


class Ticket:
    """One event on its way; see the module. Not for use after `close`."""

    def __init__(self, delivery: Delivery, event: EventT, partition: _Partition, weight: int) -> None:
        self.event = event
        self.weight = weight
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
        self._delivery.progress += 1
        self._settle()

    def _settle(self) -> None:
        self._open -= 1
        if self._open == 0:
            self._delivery.progress += 1
            self._delivery.advance(self._partition)


class Delivery:
    """Tickets of one app's source topic. Events in flight weigh at most `window` together, or are a single one.

    A skipped offset means that the client lost an event: abort. `contiguous`: False for a topic whose oldest messages
    may have been deleted before they were read; there an event may be the first that the topic still has.
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
        self.progress = 0
        """Grows with every piece of finished work, however small: what agents.watchdog looks at."""
        self._partitions: dict[Any, _Partition] = {}
        self._room = asyncio.Event()

    async def admit(self, event: EventT, weight: int = 1) -> Ticket | None:
        """A ticket for `event`, once there is room; None when it is read again by its partition's next owner.

        That is so for an event of an older generation, and from the moment when the group begins to rebalance.
        """
        while self._in_flight and self._in_flight + weight > self._window:
            self._room.clear()
            await self._room.wait()
        message = event.message
        if self.app.rebalancing or message.generation_id != self.app.consumer_generation_id:
            # Faust gives partitions back only once each message that it handed out is acknowledged or dropped by all;
            # this one is neither, for as long as the agent that waits for the next one holds it.
            self.app.consumer._unacked_messages.discard(message)
            return None
        partition = self._partition(message)
        if message.offset > partition.expected:
            await self._check_skipped(partition.expected, message)
        partition.expected = message.offset + 1
        ticket = Ticket(self, event, partition, weight)
        partition.tickets.append(ticket)
        self._in_flight += weight
        self._open_events.set(self._in_flight)
        return ticket

    def advance(self, partition: _Partition) -> None:
        """Acknowledge settled tickets from the head of the partition's queue, strictly in order."""
        while partition.tickets and partition.tickets[0].settled:
            ticket = partition.tickets.popleft()
            self._in_flight -= ticket.weight
            if ticket.current:
                ticket.event.ack()
                partition.finished = ticket.event.message.offset + 1
        self._open_events.set(self._in_flight)
        self._room.set()

    def committed(self, tp: Any) -> int:
        """The offset from which the partition is read again, as the broker has confirmed it; 0 for none."""
        return self.app.consumer._committed_offset[tp] or 0

    def finished(self, tp: Any) -> int:
        """The offset behind the last event finished here in this generation; what is committed when there is none."""
        partition = self._partitions.get(tp)
        if partition is None or partition.finished is None or partition.generation != self.app.consumer_generation_id:
            return self.committed(tp)
        return partition.finished

    @property
    def in_flight(self) -> int:
        """Weight of the events that were admitted and are not acknowledged."""
        return self._in_flight

    def note_progress(self) -> None:
        """A part of an event's work is done, e.g. one of its images."""
        self.progress += 1

    def _partition(self, message: Any) -> _Partition:
        partition = self._partitions.get(message.tp)
        if partition is None or partition.generation != message.generation_id:
            if partition is not None:  # a new generation reads again from what is committed
                self._in_flight -= sum(ticket.weight for ticket in partition.tickets)
                partition.tickets.clear()
                self._room.set()
            partition = _Partition(message.generation_id, self.committed(message.tp))
            self._partitions[message.tp] = partition
        return partition

    async def _check_skipped(self, expected: int, message: Any) -> None:
        skipped = f"{message.tp}: expected offset {expected}, got {message.offset}"
        if not self._contiguous:
            first = (await self.app.consumer.earliest_offsets(message.tp))[message.tp]
            if message.offset <= first:
                log.error("events_deleted_unread", detail=skipped)
                return
        self.abort(f"events were skipped: {skipped}")
