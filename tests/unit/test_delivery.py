"""Delivery: what is acknowledged when, against an app and events that only record what is asked of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from agents.delivery import Delivery, Ticket
from agents.lease import Lease


class Aborted(Exception):
    """Stands in for the end of the process."""


def abort(reason: str) -> Any:
    raise Aborted(reason)


@dataclass
class FakeConsumer:
    _committed_offset: dict[Any, int | None] = field(default_factory=dict)
    earliest: int = 0
    _unacked_messages: set[Any] = field(default_factory=set)

    async def earliest_offsets(self, *partitions: Any) -> dict[Any, int]:
        return dict.fromkeys(partitions, self.earliest)


@dataclass
class FakeApp:
    consumer_generation_id: int = 1
    rebalancing: bool = False
    consumer: FakeConsumer = field(default_factory=lambda: FakeConsumer({("log", 0): 10, ("log", 1): None}))


@dataclass(unsafe_hash=True)
class FakeMessage:
    offset: int
    tp: tuple[str, int] = ("log", 0)
    generation_id: int = 1


@dataclass
class FakeEvent:
    message: FakeMessage
    acks: list[int]

    def ack(self) -> None:
        self.acks.append(self.message.offset)


class FakeTopic:
    """Takes messages; the test says when the broker acknowledges them."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.futures: list[asyncio.Future[None]] = []

    def as_future_message(self, *, key: bytes | None, value: bytes, headers: Any) -> bytes:
        return value

    async def publish_message(self, message: bytes, wait: bool = False) -> asyncio.Future[None]:
        self.sent.append(message)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        return future


class Harness:
    def __init__(self, **options: Any) -> None:
        self.app, self.topic, self.acks = FakeApp(), FakeTopic(), list[int]()
        self.delivery = Delivery(self.app, abort=abort, **options)

    async def admit(self, offset: int, **message: Any) -> Ticket | None:
        return await self.delivery.admit(FakeEvent(FakeMessage(offset, **message), self.acks))

    async def sent(self, offset: int, **message: Any) -> Ticket:
        """An event that has published one message and is closed."""
        ticket = await self.admit(offset, **message)
        assert ticket is not None
        ticket.send(self.topic, key=b"k", value=b"v%d" % offset, headers=[])
        await ticket.publish()
        ticket.close()
        return ticket

    async def acknowledge(self, index: int) -> None:
        self.topic.futures[index].set_result(None)
        await asyncio.sleep(0)


async def test_an_event_is_acknowledged_only_after_the_broker_has_all_it_caused() -> None:
    h = Harness()
    ticket = await h.admit(10)
    assert ticket is not None
    for value in (b"row", b"head"):
        ticket.send(h.topic, key=b"k", value=value, headers=[])
    await ticket.publish()
    await h.acknowledge(0)
    assert h.acks == []
    await h.acknowledge(1)
    assert h.acks == [], "not before it is closed"
    ticket.close()
    assert h.acks == [10]
    assert h.topic.sent == [b"row", b"head"], "published in the order queued"


async def test_acknowledgements_are_in_order_whatever_finishes_first() -> None:
    h = Harness()
    await h.sent(10)
    await h.sent(11)
    await h.acknowledge(1)
    assert h.acks == []
    await h.acknowledge(0)
    assert h.acks == [10, 11]


async def test_the_frontier_is_what_the_broker_has_committed() -> None:
    h = Harness()
    first, second = await h.sent(10), await h.sent(11)
    await h.acknowledge(0)
    assert (first.frontier, second.frontier) == (9, 9), "acknowledged here, but another worker would read it again"
    h.app.consumer._committed_offset["log", 0] = 11
    assert second.frontier == 10


async def test_partitions_do_not_wait_for_each_other() -> None:
    h = Harness()
    await h.sent(10)
    await h.sent(0, tp=("log", 1))
    await h.acknowledge(1)
    assert h.acks == [0]


async def test_a_failed_send_ends_the_process() -> None:
    h = Harness()
    await h.sent(10)
    caught: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: caught.append(context["exception"]))
    h.topic.futures[0].set_exception(OSError("broker says no"))
    await asyncio.sleep(0)
    assert isinstance(caught[0], Aborted)
    assert "broker says no" in str(caught[0])
    assert h.acks == []


async def test_an_event_of_an_older_generation_has_no_effect() -> None:
    h = Harness()
    await h.sent(10)
    h.app.consumer_generation_id = 2
    assert await h.admit(11) is None
    await h.acknowledge(0)
    assert h.acks == [], "it is read again by whoever owns the partition now"


async def test_a_new_generation_reads_again_from_what_is_committed() -> None:
    h = Harness()
    await h.sent(10)
    await h.sent(11)
    h.app.consumer_generation_id = 2
    again = await h.sent(10, generation_id=2)
    assert again.frontier == 9
    await h.acknowledge(1)
    await h.acknowledge(2)
    assert h.acks == [10]


async def test_a_skipped_offset_ends_the_process_where_the_topic_has_no_holes() -> None:
    h = Harness()
    with pytest.raises(Aborted, match="expected offset 10, got 12"):
        await h.admit(12)
    with pytest.raises(Aborted, match="expected offset 0, got 1"):
        await h.admit(1, tp=("log", 1))


async def test_a_hole_is_passed_only_where_the_topic_begins_behind_it() -> None:
    """Commands may be deleted unread by age; any other hole means that the client lost one."""
    h = Harness(contiguous=False)
    with pytest.raises(Aborted, match="expected offset 10, got 12"):
        await h.admit(12)
    h.app.consumer.earliest = 12
    assert await h.admit(12) is not None
    assert await h.admit(12, tp=("log", 1)) is not None


async def test_nothing_is_admitted_once_the_group_rebalances() -> None:
    """Faust forgets what is committed before it gives the partition back: an event would seem to be skipped."""
    h = Harness()
    h.app.consumer._committed_offset.clear()
    h.app.rebalancing = True
    h.app.consumer._committed_offset["log", 0] = None
    h.app.consumer._unacked_messages = {FakeMessage(11), FakeMessage(12)}
    assert await h.admit(12) is None
    assert h.app.consumer._unacked_messages == {FakeMessage(11)}, "the rebalance waits for what is in hand alone"


async def test_the_window_counts_weights_and_lets_a_heavy_event_in_alone() -> None:
    h = Harness(window=10)
    heavy = await h.delivery.admit(FakeEvent(FakeMessage(10), h.acks), weight=64)
    assert heavy is not None
    light = asyncio.create_task(h.delivery.admit(FakeEvent(FakeMessage(11), h.acks), weight=1))
    await asyncio.sleep(0.01)
    assert not light.done()
    heavy.close()
    assert (await light) is not None
    assert h.delivery.in_flight == 1


async def test_the_window_bounds_what_is_in_flight() -> None:
    h = Harness(window=2)
    await h.sent(10)
    await h.sent(11)
    third = asyncio.create_task(h.admit(12))
    await asyncio.sleep(0.01)
    assert not third.done()
    await h.acknowledge(0)
    assert (await third) is not None


async def test_closing_with_unpublished_messages_is_refused() -> None:
    h = Harness()
    ticket = await h.admit(10)
    assert ticket is not None
    ticket.send(h.topic, key=b"k", value=b"v", headers=[])
    with pytest.raises(Aborted, match="never published"):
        ticket.close()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_lease_runs_out_after_the_last_answered_heartbeat_was_sent() -> None:
    clock = Clock()
    lease = Lease(9.0, clock=clock, abort=abort)
    lease.check()  # not armed before the first join
    lease.restart()
    clock.now += 5
    sent = lease.now()
    clock.now += 3
    lease.renew(sent)
    clock.now += 5.9
    lease.check()
    clock.now += 0.2  # 9.1 s after the heartbeat was sent, though only 6.1 s after it was answered
    with pytest.raises(Aborted, match=r"no heartbeat answered for 9\.1 s"):
        lease.check()


def test_a_zombie_that_joins_again_before_it_produces_ends_itself() -> None:
    clock = Clock()
    lease = Lease(9.0, clock=clock, abort=abort)
    lease.restart()
    clock.now += 8
    lease.restart()  # a rebalance
    clock.now += 30  # stopped and continued
    with pytest.raises(Aborted):
        lease.restart()


def test_a_heartbeat_that_is_answered_too_late_does_not_renew() -> None:
    clock = Clock()
    lease = Lease(9.0, clock=clock, abort=abort)
    lease.restart()
    clock.now += 30  # stopped and continued
    with pytest.raises(Aborted):
        lease.renew(lease.now())


def test_a_worker_that_the_group_has_removed_ends_itself() -> None:
    lease = Lease(9.0, clock=Clock(), abort=abort)
    lease.lost()  # never a member
    lease.restart()
    with pytest.raises(Aborted, match="removed this worker"):
        lease.lost()
