"""The bridge loses nothing and repeats with the same ids, whatever fails beside it, on every supported Redis."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest

from app.local.kafka import KafkaServer
from app.local.redis import RedisServer
from bridges.metrics import BridgeMetrics
from bridges.trim import GroupState, StreamState, Trimmer, cut_unread, trim_floor
from schemas.errors import StopProcess
from schemas.topics import Topics
from tests.integration.bridge_rig import GROUP, DeafProducer, Rig, Tally, ce_ids, eventually, open_rig


@pytest.fixture(params=["redis_server", "redis6_server"])
def server(request: pytest.FixtureRequest) -> RedisServer:
    found: RedisServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def rig(server: RedisServer, kafka: KafkaServer, topics: Topics) -> AsyncIterator[Rig]:
    async with open_rig(server, kafka, topics) as rig:
        yield rig


class BrokenProducer:
    """Fails each of the first `failures` sends with `error`."""

    def __init__(self, producer: Any, error: Exception, failures: int) -> None:
        self._producer = producer
        self._error = error
        self.failures = failures

    async def send(self, topic: str, **message: Any) -> Awaitable[Any]:
        if self.failures and topic.endswith("media.jobs"):
            self.failures -= 1
            raise self._error
        future: Awaitable[Any] = await self._producer.send(topic, **message)
        return future


async def test_killed_between_produce_and_ack_repeats_with_the_same_ids(rig: Rig) -> None:
    deaf = DeafProducer(rig.producer)
    bridge = rig.bridge(producer=deaf)
    await bridge.start()
    await rig.add({"pet_id": "1", "job_id": "a", "payload": {"image_ids": ["x", "y"]}})
    await eventually(lambda: deaf.acknowledged == 1)
    assert await rig.pending() == 1
    await bridge.stop(grace_s=0)

    async with rig.running(retry_idle_ms=3_600_000):  # its own pending entries need not lie idle first
        await rig.settled()
    first, second = await rig.records(rig.topics.jobs.name, 2)
    assert first.value == second.value
    assert ce_ids([first]) == ce_ids([second])


async def test_idle_entries_of_a_dead_consumer_are_taken_over(rig: Rig) -> None:
    await rig.redis.xgroup_create(rig.stream, GROUP, id="0", mkstream=True)
    for n in range(20):
        await rig.add({"pet_id": "1", "job_id": f"j{n}"})
    await rig.redis.xreadgroup(GROUP, "dead", {rig.stream: ">"}, count=20)
    async with rig.running(retry_idle_ms=1, read_count=3):
        assert {command.job_id for command in await rig.commands(20)} == {f"j{n}" for n in range(20)}
        await rig.settled()


async def test_entries_deleted_while_pending_are_counted_and_hold_nothing_up(rig: Rig) -> None:
    lost = Tally()
    await rig.redis.xgroup_create(rig.stream, GROUP, id="0", mkstream=True)
    ids = [await rig.add({"pet_id": "1", "job_id": f"j{n}"}) for n in range(4)]
    await rig.redis.xreadgroup(GROUP, "dead", {rig.stream: ">"}, count=4)
    await rig.redis.xdel(rig.stream, ids[0], ids[2])
    async with rig.running(retry_idle_ms=1, metrics=BridgeMetrics(lost=lost)):
        assert {command.job_id for command in await rig.commands(2)} == {"j1", "j3"}
        await eventually(lambda: lost.total == 2)
        await rig.settled()


async def test_redis_restart_with_its_data(rig: Rig, server: RedisServer) -> None:
    async with rig.running():
        await rig.add({"pet_id": "1", "job_id": "before"})
        await rig.settled()
        server.stop()
        server.start()
        await rig.redis.connection_pool.disconnect()  # the test's own connections; the bridge's are its business
        await rig.add({"pet_id": "1", "job_id": "after"})
        assert [command.job_id for command in await rig.commands(2)] == ["before", "after"]
        await rig.settled()


async def test_flushed_redis_gets_its_group_again(rig: Rig) -> None:
    async with rig.running():
        await rig.add({"pet_id": "1", "job_id": "before"})
        await rig.settled()
        await rig.redis.flushall()
        await rig.add({"pet_id": "1", "job_id": "after"})
        assert [command.job_id for command in await rig.commands(2)] == ["before", "after"]


async def test_kafka_gone_and_back_loses_nothing(rig: Rig, kafka: KafkaServer) -> None:
    pending, idle = Tally(), Tally()
    async with rig.running(read_count=4, metrics=BridgeMetrics(pending=pending, lag_seconds=idle)):
        await rig.add({"pet_id": "1", "job_id": "first"})
        await rig.settled()
        kafka.kill()
        try:
            for n in range(10):
                await rig.add({"pet_id": "1", "job_id": f"j{n}"})
            await eventually(lambda: max(pending.values, default=0) > 0 and max(idle.values, default=0) > 0)
        finally:
            kafka.start()
        await rig.settled()
        assert max(pending.values) <= 4  # the next batch is not read before the one before is acknowledged
    assert [c.job_id for c in await rig.commands(11)] == ["first", *(f"j{n}" for n in range(10))]


async def test_transient_refusals_are_tried_again(rig: Rig) -> None:
    producer = BrokenProducer(rig.producer, ConnectionResetError("gone"), failures=3)
    for n in range(5):
        await rig.add({"pet_id": "1", "job_id": f"j{n}"})
    async with rig.running(producer=producer):
        assert [command.job_id for command in await rig.commands(5)] == [f"j{n}" for n in range(5)]
        await rig.settled()
    assert producer.failures == 0


async def test_unexpected_failures_of_one_entry_end_in_the_dead_letters(rig: Rig) -> None:
    producer = BrokenProducer(rig.producer, ZeroDivisionError("a bug"), failures=3)
    await rig.add({"pet_id": "1", "job_id": "a"})
    async with rig.running(producer=producer, max_attempts=3):
        (record,) = await rig.records(rig.topics.deadletter.name, 1)
        await rig.settled()
    letter = json.loads(record.value)
    assert (letter["kind"], letter["pet_id"], letter["job_id"]) == ("unexpected", "1", "a")
    assert "a bug" in letter["reason"]


async def test_producer_that_can_never_send_again_ends_the_process(rig: Rig) -> None:
    from aiokafka.errors import ProducerFenced

    await rig.add({"pet_id": "1", "job_id": "a"})
    with pytest.raises(StopProcess, match="ProducerFenced"):
        await rig.bridge(producer=BrokenProducer(rig.producer, ProducerFenced(), failures=1)).run()
    assert await rig.pending() == 1


async def test_job_that_the_producer_refuses_for_its_size_is_buried(
    server: RedisServer, kafka: KafkaServer, topics: Topics
) -> None:
    async with open_rig(server, kafka, topics, max_request_size=4_000) as rig:
        ids = [f"{n:0100}" for n in range(64)]
        await rig.add({"pet_id": "1", "job_id": "a", "payload": {"image_ids": ids}})
        async with rig.running():
            (record,) = await rig.records(rig.topics.deadletter.name, 1)
            await rig.settled()
        ((_, buried),) = await rig.redis.xrange(rig.dead_letters)
    letter = json.loads(record.value)
    cut = base64.b64decode(letter["payload"])
    assert letter["kind"] == "too_large"
    assert "payload cut" in letter["reason"]
    assert buried[b"payload"].startswith(cut)
    assert json.loads(buried[b"payload"])["payload"]["image_ids"] == ids


async def test_two_bridges_share_the_work(rig: Rig) -> None:
    async with rig.running(consumer_name="a", read_count=1), rig.running(consumer_name="b", read_count=1):
        for n in range(30):
            await rig.add({"pet_id": str(n), "job_id": "j"})
        assert {command.pet_id for command in await rig.commands(30)} == {str(n) for n in range(30)}
        await rig.settled()


async def test_stop_ends_a_waiting_read(rig: Rig) -> None:
    bridge = rig.bridge(read_timeout_ms=3_600_000, retry_idle_ms=3_600_000)
    await bridge.start()
    await rig.add({"pet_id": "1"})
    await rig.settled()
    await asyncio.wait_for(bridge.stop(grace_s=3_600), 30)


async def test_trimming_keeps_what_any_group_has_not_acknowledged(rig: Rig) -> None:
    trimmer = Trimmer(rig.redis, rig.stream, GROUP, approximate=False)
    await rig.redis.xgroup_create(rig.stream, "shadow", id="0", mkstream=True)
    ids = [(await rig.add({"pet_id": "1", "job_id": f"j{n}"})).encode() for n in range(10)]
    async with rig.running():
        await rig.commands(10)
        await eventually(lambda: _group_is_settled(rig))

    async def left() -> list[bytes]:
        return [entry_id for entry_id, _ in await rig.redis.xrange(rig.stream)]

    assert await trimmer.trim() == 0  # the other group has read nothing
    await rig.redis.xreadgroup("shadow", "s", {rig.stream: ">"}, count=5)
    await rig.redis.xack(rig.stream, "shadow", ids[0], ids[1], ids[3])
    assert await trimmer.trim() == 2  # entry 2 is pending there
    assert await left() == ids[2:]
    await rig.redis.xack(rig.stream, "shadow", ids[2], ids[4])
    assert await trimmer.trim() == 2  # up to the last one it has read
    assert await left() == ids[4:]
    await rig.redis.xgroup_destroy(rig.stream, "shadow")
    await trimmer.trim()
    assert await left() == ids[9:]
    assert await trimmer.watch() == 0  # our own trimming is no loss
    assert await trimmer.trim() == 0


async def _group_is_settled(rig: Rig) -> bool:
    groups: Any = await rig.redis.xinfo_groups(rig.stream)
    return any(g["name"] == GROUP.encode() and g["pending"] == 0 for g in groups)


async def test_running_bridge_trims(rig: Rig) -> None:
    trimmed = Tally()
    async with rig.running(trim_interval_s=0.02, trim_approximate=False, metrics=BridgeMetrics(trimmed=trimmed)):
        for n in range(10):
            await rig.add({"pet_id": "1", "job_id": f"j{n}"})
        await eventually(lambda: trimmed.total == 9)
        assert len(await rig.commands(10)) == 10


async def test_entries_that_a_producer_cut_unread_are_counted_once(rig: Rig) -> None:
    lost = Tally()
    trimmer = Trimmer(rig.redis, rig.stream, GROUP, metrics=BridgeMetrics(lost=lost))
    await rig.redis.xgroup_create(rig.stream, GROUP, id="0", mkstream=True)
    for n in range(6):
        await rig.add({"pet_id": "1", "job_id": f"j{n}"})
    await rig.redis.xreadgroup(GROUP, "c", {rig.stream: ">"}, count=1)
    assert await trimmer.watch() == 0
    await rig.redis.xtrim(rig.stream, maxlen=2, approximate=False)
    version: Any = await rig.redis.info("server")
    counted = 3 if int(version["redis_version"].split(".")[0]) >= 7 else 1  # 6.2 does not tell how many
    assert await trimmer.watch() == counted
    assert await trimmer.watch() == 0
    assert lost.total == counted


def _group(last: str, oldest: str | None = None, entries_read: int | None = None) -> GroupState:
    return GroupState("g", last, oldest, 1 if oldest else 0, entries_read, None)


@pytest.mark.parametrize(
    ("groups", "floor"),
    [
        ([], None),
        ([_group("0-0")], None),
        ([_group("5-0"), _group("0-0")], None),
        ([_group("5-0")], "5-0"),
        ([_group("5-0", "3-1"), _group("4-0")], "3-1"),
        ([_group("10-0"), _group("9-18446744073709551615")], "9-18446744073709551615"),
    ],
)
def test_floor_is_the_lowest_of_all_groups(groups: list[GroupState], floor: str | None) -> None:
    assert trim_floor(groups) == floor


@pytest.mark.parametrize(
    ("stream", "group", "cut"),
    [
        (StreamState(5, "1-0", 5), _group("0-0", entries_read=0), 0),
        (StreamState(2, "4-0", 5), _group("1-0", entries_read=1), 2),
        (StreamState(0, None, 5), _group("1-0", entries_read=1), 4),
        (StreamState(3, "3-0", 5), _group("3-0", entries_read=3), 0),
        (StreamState(2, "4-0", None), _group("1-0"), 1),
        (StreamState(2, "1-0", None), _group("1-0"), 0),
        (StreamState(2, "4-0", None), _group("0-0"), 0),
        (StreamState(0, None, None), _group("1-0"), 0),
    ],
)
def test_what_was_cut_unread(stream: StreamState, group: GroupState, cut: int) -> None:
    assert cut_unread(stream, group) == cut
