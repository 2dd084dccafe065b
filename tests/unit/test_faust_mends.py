"""The mends of faust: each test fails without its mend."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.producer.sender import Sender
from faust.tables.recovery import Recovery
from faust.transport.consumer import Consumer
from faust.types import TP

from agents import faust_mends, lease
from agents.durable_table import DurableTable
from schemas.errors import StopProcess


class Recorder:
    """Records the order in which recovery calls the consumer."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def stop_flow(self) -> None:
        self.calls.append("stop_flow")

    def resume_partitions(self, _tps: Any) -> None:
        self.calls.append("resume_partitions")


class StoppedHere(Exception):
    """Raised by the fake behind the calls that matter."""


async def test_recovery_stops_the_flow_before_it_resumes_partitions() -> None:
    faust_mends.stop_flow_before_seek()
    faust_mends.stop_flow_before_seek()
    consumer = Recorder()

    class FakeRecovery:
        log = type("Log", (), {"info": lambda *_: None, "dev": lambda *_: None})()
        tables: dict[str, Any] = {}

        class app:
            consumer_generation_id = 1

            class on_rebalance_complete:
                @staticmethod
                async def send() -> None: ...

        def _set_recovery_ended(self) -> None: ...

        def _is_changelog_tp(self, _tp: Any) -> bool:
            return False

        async def _wait(self, coroutine: Any, **_: Any) -> None:
            coroutine.close()
            raise StoppedHere

    FakeRecovery.app.consumer = consumer  # type: ignore[attr-defined]
    FakeRecovery.app.conf = type("Conf", (), {"broker_request_timeout": 1})  # type: ignore[attr-defined]

    async def seek() -> None: ...

    consumer.assignment = lambda: {("log", 0)}  # type: ignore[attr-defined]
    consumer.perform_seek = seek  # type: ignore[attr-defined]
    with pytest.raises(StoppedHere):
        await Recovery.on_recovery_completed(FakeRecovery(), 1)
    assert consumer.calls == ["stop_flow", "resume_partitions"], "once, and before messages can arrive"


async def test_the_lease_stands_before_every_produce_request(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name in (
        (GroupCoordinator, "_do_heartbeat"),
        (GroupCoordinator, "_do_rejoin_group"),
        (Sender, "_send_produce_req"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    answered = True
    sent: list[str] = []

    async def heartbeat(_self: Any) -> bool:
        return answered

    async def rejoin(_self: Any, _subscription: Any) -> bool:
        return True

    async def produce(_self: Any, _node: int, _batches: Any) -> None:
        sent.append("request")

    monkeypatch.setattr(GroupCoordinator, "_do_heartbeat", heartbeat)
    monkeypatch.setattr(GroupCoordinator, "_do_rejoin_group", rejoin)
    monkeypatch.setattr(Sender, "_send_produce_req", produce)
    now = 0.0
    ended: list[str] = []

    def abort(reason: str) -> Any:
        ended.append(reason)
        raise StoppedHere

    lease.install(lease.Lease(9.0, clock=lambda: now, abort=abort))
    member = SimpleNamespace(generation=3)
    await Sender._send_produce_req(None, 1, {})
    await GroupCoordinator._do_rejoin_group(SimpleNamespace(generation=lease.NO_GENERATION), None)
    await GroupCoordinator._do_rejoin_group(member, None)
    now = 8.0
    await GroupCoordinator._do_heartbeat(None)
    now = 16.0
    await Sender._send_produce_req(None, 1, {})
    answered = False
    await GroupCoordinator._do_heartbeat(None)
    now = 17.5
    with pytest.raises(StoppedHere):
        await Sender._send_produce_req(None, 1, {})
    assert len(sent) == 2
    assert len(ended) == 1
    member.generation = lease.NO_GENERATION
    with pytest.raises(StoppedHere):
        await GroupCoordinator._do_rejoin_group(member, None)
    assert "removed this worker" in ended[1]


def test_changelog_records_bypass_the_producer_buffer() -> None:
    buffered: list[Any] = []

    class Changelog:
        def as_future_message(self, **message: Any) -> Any:
            return message["key"]

        def send_soon(self, **message: Any) -> None:
            buffered.append(message)

    table = DurableTable.__new__(DurableTable)
    table._unpublished = []
    table.__dict__["_changelog_topic"] = Changelog()
    table.key_serializer = table.value_serializer = "raw"
    table.send_changelog(0, b"one", b"1")
    table.send_changelog(0, b"two", b"2")
    assert (table.take_unpublished(), table.take_unpublished(), buffered) == ([b"one", b"two"], [], [])


async def test_a_partition_with_nothing_committed_is_read_from_its_beginning() -> None:
    faust_mends.seek_where_nothing_is_committed()
    faust_mends.seek_where_nothing_is_committed()
    started, fresh, zero, changelog = TP("log", 0), TP("log", 1), TP("log", 2), TP("changelog", 0)
    seeks: list[tuple[TP, int]] = []

    class FakeConsumer:
        app = SimpleNamespace(tables=SimpleNamespace(changelog_topics={"changelog"}))
        _read_offset: dict[TP, int | None] = {}
        _committed_offset: dict[TP, int | None] = defaultdict(lambda: None)
        _acked = {started: [5, 6], fresh: [0, 1], changelog: [9]}
        _acked_index = {started: {5, 6}, fresh: {0, 1}, changelog: {9}}
        _gap: dict[TP, Any] = {}

        def assignment(self) -> set[TP]:
            return {started, fresh, zero, changelog}

        async def seek_to_committed(self) -> dict[TP, int | None]:
            return {started: 5, fresh: None, zero: 0, changelog: None}

        async def seek(self, tp: TP, offset: int) -> None:
            seeks.append((tp, offset))

    consumer = FakeConsumer()
    await Consumer.perform_seek(consumer)
    assert sorted(seeks) == [(fresh, 0), (zero, 0)], "once each; the committed one was sought before"
    assert consumer._acked == {changelog: [9]}, "what was acknowledged unread before the seek is not committed"


async def test_a_commit_that_the_group_refuses_is_not_taken_for_one() -> None:
    faust_mends.forget_failed_commits()
    faust_mends.forget_failed_commits()
    partition = TP("log", 0)
    taken = False

    class FakeConsumer:
        in_transaction = False
        log = SimpleNamespace(dev=lambda *_: None)
        _committed_offset: dict[TP, int | None] = {partition: 5}

        class app:
            monitor = SimpleNamespace(on_tp_commit=lambda _: None)
            tables = SimpleNamespace(on_commit=lambda _: None)

            class producer:
                @staticmethod
                async def flush() -> None: ...

        def assignment(self) -> set[TP]:
            return {partition}

        async def _commit(self, _offsets: Any) -> bool:
            return taken

    consumer = FakeConsumer()
    assert not await Consumer._commit_offsets(consumer, {partition: 9})
    assert consumer._committed_offset == {partition: 5}
    taken = True
    assert await Consumer._commit_offsets(consumer, {partition: 9})
    assert consumer._committed_offset == {partition: 9}


def test_faust_without_its_compiled_iterator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faust.streams._CStreamIterator", None)
    with pytest.raises(StopProcess, match="compiled extension"):
        faust_mends.mend_faust()


class FullBuffers:
    """A consumer whose one partition may not be fetched, since its stream's buffer is full."""

    flow_active = True

    def __init__(self) -> None:
        self.partition = TP("log", 0)
        self.app = SimpleNamespace(in_recovery=False, client_only=False)
        self._active_partitions: set[TP] = set()
        self._buffered_partitions = {self.partition}
        self.not_waiting_next_records = asyncio.Event()
        self.slept: list[float] = []

    def _get_active_partitions(self) -> set[TP]:
        return self._active_partitions

    async def wait(self, waiting: Any, *, timeout: float) -> None:  # noqa: ASYNC109
        await asyncio.wait_for(waiting, 30.0)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def _getmany(self, active_partitions: set[TP], timeout: float) -> dict[TP, list[str]]:  # noqa: ASYNC109
        return {tp: ["record"] for tp in active_partitions}


async def test_a_full_buffer_is_waited_for_until_it_has_room_not_for_a_second() -> None:
    faust_mends.wait_for_buffers()
    faust_mends.wait_for_buffers()
    consumer: Any = FullBuffers()
    fetching = asyncio.ensure_future(Consumer._wait_next_records(consumer, 1.0))
    await asyncio.sleep(0)
    assert not fetching.done()
    Consumer.on_buffer_drop(consumer, consumer.partition)
    records, _ = await fetching
    assert records == {consumer.partition: ["record"]}
    assert consumer.slept == []
