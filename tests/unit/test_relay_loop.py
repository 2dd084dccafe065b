"""The loops of the bridge that read Kafka: what they commit when partitions move, and how long a head may wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError

from bridges.relay_loop import Progress, RelayLoop
from bridges.retries import RetryPump
from schemas.commands import EmbedImages
from schemas.headers import RETRY_DUE
from schemas.topics import Topics

TOPICS = Topics("t.")
PARTITION = TopicPartition(TOPICS.retries[0].name, 0)
NEVER = b"9999-12-31T00:00:00+00:00"


def record(offset: int, due: bytes = NEVER, partition: TopicPartition = PARTITION) -> ConsumerRecord:
    value = msgspec.json.encode(EmbedImages(pet_id="101", job_id=f"j{offset}"))
    return ConsumerRecord(
        partition.topic, partition.partition, offset, 0, 0, b"101", value, None, 3, len(value), [(RETRY_DUE, due)]
    )


class Broker:
    """A consumer whose polls answer what a test has put into `polls`, one function a poll; then `done` is set."""

    def __init__(self, *polls: Callable[[Any], Mapping[TopicPartition, Sequence[ConsumerRecord]]]) -> None:
        self.polls = list(polls)
        self.done = asyncio.Event()
        self.listener: Any = None
        self.end = 0
        self.commits: list[int] = []
        self.failing_commits = 0
        self.group_id = "g"

    def consumer(self) -> Broker:
        return self

    def subscribe(self, names: Sequence[str], listener: Any) -> None:
        self.listener = listener

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def getmany(self, **_limits: Any) -> Mapping[TopicPartition, Sequence[ConsumerRecord]]:
        if self.polls:
            return self.polls.pop(0)(self.listener)
        self.done.set()
        await asyncio.sleep(0)
        return {}

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        if self.failing_commits:
            self.failing_commits -= 1
            raise KafkaConnectionError("away")
        self.commits += offsets.values()

    def assignment(self) -> set[TopicPartition]:
        return {PARTITION}

    def highwater(self, _partition: TopicPartition) -> int:
        return self.end

    async def end_offsets(self, _partitions: Any) -> dict[TopicPartition, int]:
        return {}


def poll(*offsets: int) -> Callable[[Any], Mapping[TopicPartition, Sequence[ConsumerRecord]]]:
    return lambda _listener: {PARTITION: [record(offset) for offset in offsets]}


class Doing(RelayLoop):
    """Is done with all records; `meanwhile` happens while it handles the first batch."""

    def __init__(self, broker: Broker, meanwhile: Callable[[RelayLoop], None] = lambda _: None) -> None:
        super().__init__(broker, [PARTITION.topic])
        self._meanwhile = meanwhile
        self.handled: list[int] = []

    async def handle(self, partition: TopicPartition, records: Sequence[ConsumerRecord]) -> Progress:
        if not self.handled:
            self._meanwhile(self)
        self.handled += [each.offset for each in records]
        return Progress(len(records))


async def ran(loop: RelayLoop, broker: Broker) -> None:
    await loop.start()
    await asyncio.wait_for(broker.done.wait(), 30)
    await loop.stop()


async def test_what_was_handled_before_the_partition_went_and_came_is_not_committed() -> None:
    def lost_and_regained(loop: RelayLoop) -> None:
        loop.on_partitions_revoked([PARTITION])
        loop.on_partitions_assigned([PARTITION])

    broker = Broker(poll(0, 1), poll(5, 6))  # meanwhile the other owner has committed 5
    loop = Doing(broker, lost_and_regained)
    await ran(loop, broker)
    assert loop.handled == [0, 1, 5, 6]
    assert broker.commits == [7]


async def test_a_partition_that_is_lost_in_the_middle_is_not_committed() -> None:
    broker = Broker(poll(0, 1))
    await ran(Doing(broker, lambda loop: loop.on_partitions_revoked([PARTITION])), broker)
    assert broker.commits == []


async def test_a_commit_that_failed_is_not_repeated_once_the_partition_is_assigned_anew() -> None:
    def assigned_anew(listener: Any) -> Mapping[TopicPartition, Sequence[ConsumerRecord]]:
        listener.on_partitions_assigned([PARTITION])
        return {}

    broker = Broker(poll(0, 1), assigned_anew)
    broker.failing_commits = 1
    await ran(Doing(broker), broker)
    assert broker.commits == []


async def test_a_commit_that_failed_is_repeated_otherwise() -> None:
    broker = Broker(poll(0, 1), lambda _listener: {})
    broker.failing_commits = 1
    await ran(Doing(broker), broker)
    assert broker.commits == [2]


class Sent:
    """A producer that the broker always answers."""

    async def send(self, topic: str, **message: Any) -> asyncio.Future[None]:
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        answered.set_result(None)
        return answered


class Watch:
    """A clock that a test turns."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
async def waiting(watch: Watch) -> tuple[RetryPump, Broker]:
    """A pump that has polled nothing yet; its tiers' delays are 5, 60 and 600 s."""
    broker = Broker()
    pump = RetryPump(
        broker,
        Sent(),
        TOPICS,
        delays_s=(5.0, 60.0, 600.0),
        clock=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        monotonic=watch,
    )
    pump._consumer = broker
    return pump, broker


async def test_wrongly_dated_commands_wait_side_by_side(waiting: tuple[RetryPump, Broker], watch: Watch) -> None:
    pump, broker = waiting
    broker.end = 5
    lying = [record(offset) for offset in range(5)]
    assert await pump.handle(PARTITION, lying) == Progress(0, 10.0)
    watch.now, broker.end = 10.0, 7
    late = [record(5), record(6)]
    assert await pump.handle(PARTITION, lying[:2]) == Progress(2, 0.0)
    assert await pump.handle(PARTITION, lying[2:] + late) == Progress(3, 10.0)
    watch.now = 20.0
    assert await pump.handle(PARTITION, late) == Progress(2, 0.0)


@pytest.mark.parametrize(("tier", "longest"), [(1, 10.0), (2, 120.0), (3, 1200.0)])
async def test_a_wrongly_dated_command_waits_for_twice_its_own_tiers_delay(
    waiting: tuple[RetryPump, Broker], tier: int, longest: float
) -> None:
    partition = TopicPartition(TOPICS.retries[tier - 1].name, 0)
    assert await waiting[0].handle(partition, [record(0, partition=partition)]) == Progress(0, longest)


async def test_what_lies_behind_a_head_still_waits_for_its_own_time(
    waiting: tuple[RetryPump, Broker], watch: Watch
) -> None:
    pump, broker = waiting
    broker.end = 2
    lying = [record(0, b"2026-01-01T00:00:04Z"), record(1, b"2026-01-01T00:00:06Z")]
    assert await pump.handle(PARTITION, lying) == Progress(0, 4.0)
    assert await pump.handle(PARTITION, lying[1:]) == Progress(0, 6.0)
