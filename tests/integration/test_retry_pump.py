"""The pump hands every command over when it is due, not before, and loses none, whatever fails beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from app.local.kafka import KafkaServer
from bridges.retries import RetryMetrics
from schemas.commands import EmbedImages
from schemas.headers import RETRY_DUE, parse_timestamp
from schemas.topics import Topics
from tests.integration.bridge_rig import DeafProducer, Tally, ce_ids, eventually
from tests.integration.relay_rig import RelayRig, command, due_in, open_relay_rig, running

GROUP = "media-retry"


@pytest.fixture
async def rig(kafka: KafkaServer, topics: Topics) -> AsyncIterator[RelayRig]:
    async with open_relay_rig(kafka, topics) as rig:
        yield rig


class Flaky:
    """Fails the first `failures` sends of each message, and tells how many are under way at once."""

    def __init__(self, producer: Any, failures: int = 0) -> None:
        self._producer = producer
        self._failures = failures
        self._tries: dict[bytes, int] = {}
        self._open = 0
        self.most = 0

    async def send(self, topic: str, *, value: bytes, **message: Any) -> Awaitable[Any]:
        self._tries[value] = self._tries.get(value, 0) + 1
        if self._tries[value] <= self._failures:
            raise ValueError("this send fails")
        future: asyncio.Future[Any] = await self._producer.send(topic, value=value, **message)
        self._open += 1
        self.most = max(self.most, self._open)
        future.add_done_callback(lambda _: setattr(self, "_open", self._open - 1))
        return future


def tiers(rig: RelayRig) -> list[str]:
    return [topic.name for topic in rig.topics.retries]


def job_ids(records: list[Any]) -> list[str]:
    return [msgspec.json.decode(record.value, type=EmbedImages).job_id for record in records]


async def until_it_relays(rig: RelayRig) -> None:
    """Until a pump that has just been started has joined and relayed a command, which is then the first."""
    await rig.wait_in_tier(1, command("first"), due_in(-1))
    await rig.jobs(1)


async def test_a_command_is_handed_over_when_it_is_due_and_holds_up_only_its_own_partition(rig: RelayRig) -> None:
    async with running(rig.pump()):
        await until_it_relays(rig)
        due = due_in(5)
        await rig.wait_in_tier(1, command("later"), due, partition=0)
        await rig.wait_in_tier(1, command("behind it"), due, partition=0)
        await rig.wait_in_tier(1, command("other partition"), due_in(-1), partition=1)
        await rig.wait_in_tier(2, command("other tier"), due_in(-1), partition=0)
        records = await rig.jobs(5)
        await rig.until_passed(GROUP, tiers(rig))
    assert sorted(job_ids(records[1:3])) == ["other partition", "other tier"]
    assert job_ids(records[3:]) == ["later", "behind it"]
    moment = parse_timestamp(due)
    assert moment is not None
    assert all(record.timestamp >= int(moment.timestamp() * 1000) for record in records[3:])


async def test_key_value_and_headers_stay_but_for_the_due_time(rig: RelayRig) -> None:
    value, headers = await rig.wait_in_tier(3, command("j", metadata={"from": "test"}), due_in(-1))
    async with running(rig.pump()):
        (record,) = await rig.jobs(1)
    assert (record.key, record.value, list(record.headers)) == (b"101", value, headers)
    assert RETRY_DUE not in dict(record.headers)


@pytest.mark.parametrize("due", [None, "", "tomorrow", "2999-01-01T00:00:00"])
async def test_a_command_that_does_not_say_properly_when_it_is_due_is_due(rig: RelayRig, due: str | None) -> None:
    await rig.wait_in_tier(1, command("j"), due)
    async with running(rig.pump()):
        assert job_ids(await rig.jobs(1)) == ["j"]


async def test_due_times_of_a_wrong_clock_hold_a_partition_up_for_twice_its_tiers_delay_only(rig: RelayRig) -> None:
    for n in range(5):
        await rig.wait_in_tier(1, command(f"wrong {n}"), "9999-12-31T00:00:00+00:00", partition=0)
    await rig.wait_in_tier(1, command("behind them"), due_in(-1), partition=0)
    async with running(rig.pump(delays_s=(0.15, 3600.0, 3600.0))):
        assert job_ids(await rig.jobs(6)) == [*(f"wrong {n}" for n in range(5)), "behind them"]


async def test_waiting_is_no_busy_loop(rig: RelayRig) -> None:
    looked = []

    def clock() -> datetime:
        looked.append(1)
        return datetime.now(UTC)

    async with running(rig.pump(clock=clock)):
        await until_it_relays(rig)
        looked.clear()
        await rig.wait_in_tier(1, command("j"), due_in(3))
        await rig.jobs(2)
    assert 2 <= len(looked) <= 4  # when it was read, when it was due; a timer may wake a little early


async def test_killed_between_produce_and_commit_repeats_with_the_same_id(rig: RelayRig) -> None:
    deaf = DeafProducer(rig.producer)
    pump = rig.pump(deaf)
    await pump.start()
    await rig.wait_in_tier(1, command("j"), due_in(-1))
    await eventually(lambda: deaf.acknowledged == 1)
    assert not await rig.has_passed(GROUP, tiers(rig))
    await pump.stop(grace_s=0)

    async with running(rig.pump()):
        await rig.until_passed(GROUP, tiers(rig))
    first, second = await rig.jobs(2)
    assert first.value == second.value
    assert ce_ids([first]) == ce_ids([second]) == [command("j").id]


async def test_a_send_that_fails_is_repeated_and_nothing_behind_it_is_committed_first(rig: RelayRig) -> None:
    for n in range(5):
        await rig.wait_in_tier(1, command(f"j{n}"), due_in(-1), partition=0)
    async with running(rig.pump(Flaky(rig.producer, failures=2))):
        await rig.until_passed(GROUP, tiers(rig))
    assert job_ids(await rig.jobs(5)) == [f"j{n}" for n in range(5)]


async def test_it_holds_a_bounded_number_of_commands(rig: RelayRig) -> None:
    for n in range(60):
        await rig.wait_in_tier(1 + n % 3, command(f"j{n}", pet_id=str(n)), due_in(-1))
    producer = Flaky(rig.producer)
    async with running(rig.pump(producer, max_records=7)):
        await rig.until_passed(GROUP, tiers(rig))
    assert set(job_ids(await rig.jobs(60))) == {f"j{n}" for n in range(60)}
    assert 1 <= producer.most <= 7


async def test_relayed_and_waiting_commands_are_measured(rig: RelayRig) -> None:
    relayed, waiting = {1: Tally(), 2: Tally(), 3: Tally()}, Tally()
    for tier, due in ((1, -1), (2, -1), (2, -1), (3, 600)):
        await rig.wait_in_tier(tier, command("j"), due_in(due))
    async with running(rig.pump(metrics=RetryMetrics(relayed.__getitem__, waiting), delays_s=(1800.0,) * 3)):
        await eventually(lambda: [tally.total for tally in relayed.values()] == [1, 2, 0])
        await eventually(lambda: waiting.values[-1:] == [1])


async def test_a_pump_that_leaves_hands_its_partitions_to_the_other(rig: RelayRig) -> None:
    first, second = rig.pump(), rig.pump()
    for n in range(30):
        await rig.wait_in_tier(1 + n % 3, command(f"j{n}", pet_id=str(n)), due_in(n / 10))
    async with running(first, second):
        await rig.jobs_at_least(5)
        await first.stop()
        await rig.until_passed(GROUP, tiers(rig))
    assert {*job_ids(await rig.jobs_at_least(30))} == {f"j{n}" for n in range(30)}


async def test_the_broker_is_killed_and_comes_back(rig: RelayRig, kafka: KafkaServer) -> None:
    async with running(rig.pump()):
        await rig.wait_in_tier(1, command("before"), due_in(-1))
        await rig.until_passed(GROUP, tiers(rig))
        await rig.wait_in_tier(1, command("while it was away"), due_in(1))
        kafka.kill()
        kafka.start()
        await rig.wait_in_tier(1, command("after"), due_in(-1))
        await rig.until_passed(GROUP, tiers(rig))
    assert {*job_ids(await rig.jobs_at_least(3))} == {"before", "while it was away", "after"}
