"""Requeued dead letters become commands, at a bounded rate, with the same ids at every repeat."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from app.local.kafka import KafkaServer
from bridges.requeue import Pace, RequeueMetrics
from schemas.commands import MAX_IMAGES_PER_COMMAND, EmbedImages
from schemas.dead_letters import DeadLetterAction
from schemas.headers import header
from schemas.topics import Topics
from tests.integration.bridge_rig import DeafProducer, Tally, ce_ids, eventually
from tests.integration.relay_rig import RelayRig, command, due_in, open_relay_rig, running

GROUP = "media-requeue"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def rig(kafka: KafkaServer, topics: Topics) -> AsyncIterator[RelayRig]:
    async with open_relay_rig(kafka, topics) as rig:
        yield rig


def requeue(job_id: str, parts: int = 1, **more: Any) -> DeadLetterAction:
    """Of as many images as make `parts` commands."""
    template = msgspec.structs.replace(command(job_id, attempt=1, run=2, requeue="0123456789abcdef"), image_ids=())
    image_ids = tuple(f"i{number}" for number in range((parts - 1) * MAX_IMAGES_PER_COMMAND + 1))
    values: dict[str, Any] = {"kind": "requeue", "letters": (job_id,), "who": "ann", "why": "fixed", "at": due_in(0)}
    values |= {"command": template, "image_ids": image_ids, "pet_id": "101", "job_id": job_id}
    return DeadLetterAction(**values | more)


async def act(rig: RelayRig, *actions: DeadLetterAction | bytes) -> None:
    for action in actions:
        value = action if isinstance(action, bytes) else msgspec.json.encode(action)
        await rig.producer.send_and_wait(
            rig.topics.deadletter_actions.name, value, key=b"101", headers=[("traceparent", TRACE.encode())]
        )


def commands_of(records: list[Any]) -> list[EmbedImages]:
    return [msgspec.json.decode(record.value, type=EmbedImages) for record in records]


async def test_a_requeue_submits_its_commands_and_a_discard_nothing(rig: RelayRig) -> None:
    discard = requeue("discarded", kind="discard")
    action = requeue("job", parts=3)
    requeued = Tally()
    await act(rig, discard, action, requeue("empty", command=None))
    async with running(rig.executor(metrics=RequeueMetrics(requeued=requeued))):
        await rig.until_passed(GROUP, [rig.topics.deadletter_actions.name])
    records = await rig.jobs(3)
    assert tuple(commands_of(records)) == action.commands
    assert ce_ids(records) == [each.id for each in action.commands]
    assert {record.key for record in records} == {b"101"}
    assert {header(record.headers, "ce_source") for record in records} == {"/bridge/requeue"}
    assert {header(record.headers, "traceparent") for record in records} == {TRACE}
    assert requeued.total == 3


async def test_all_images_of_the_largest_job_are_one_run_in_parts(rig: RelayRig) -> None:
    action = requeue("job", parts=157)
    await act(rig, action)
    async with running(rig.executor(rate_per_second=100)):  # more than one turn for the action
        await rig.until_passed(GROUP, [rig.topics.deadletter_actions.name])
    commands = commands_of(await rig.jobs(157))
    assert [(each.part, each.parts, each.job) for each in commands] == [
        (part, 157, "job#2.0123456789abcdef") for part in range(1, 158)
    ]
    assert tuple(image_id for each in commands for image_id in each.image_ids) == action.image_ids


async def test_a_command_without_images_beside_it_is_submitted_as_it_stands(rig: RelayRig) -> None:
    whole = command("job", attempt=3, part=2, parts=5)
    await act(rig, requeue("job", command=whole, image_ids=None), requeue("list", image_ids=()))
    async with running(rig.executor()):
        await rig.until_passed(GROUP, [rig.topics.deadletter_actions.name])
    as_it_stands, listing = commands_of(await rig.jobs(2))
    assert as_it_stands == whole
    assert (listing.job_id, listing.image_ids, listing.part, listing.parts) == ("list", (), 1, 1)


async def test_what_is_no_action_is_counted_and_holds_nothing_up(rig: RelayRig) -> None:
    invalid, waiting = Tally(), Tally()
    await act(rig, b"{", b"", b'{"kind": "burn"}', b"\xff", requeue("job"))
    async with running(rig.executor(metrics=RequeueMetrics(invalid=invalid, waiting=waiting))):
        await rig.until_passed(GROUP, [rig.topics.deadletter_actions.name])
        await eventually(lambda: waiting.values[-1:] == [0])
    assert [each.job_id for each in commands_of(await rig.jobs(1))] == ["job"]
    assert invalid.total == 4


async def test_commands_go_out_at_a_bounded_rate_over_all_actions(rig: RelayRig) -> None:
    await act(rig, requeue("one", parts=9), requeue("two"), requeue("three", parts=9))
    async with running(rig.executor(rate_per_second=8)):
        await rig.until_passed(GROUP, [rig.topics.deadletter_actions.name])
    records = await rig.jobs(19)
    assert [each.job_id for each in commands_of(records)] == ["one"] * 9 + ["two"] + ["three"] * 9
    times = [record.timestamp for record in records]
    # At the earliest: 8 at once, 1 behind 1 s, 1 and 8 behind 1/8 s each, 1 behind 1 s; less what the first send took.
    assert times[-1] - times[0] >= 1_500


def test_the_pace_makes_up_for_what_was_taken() -> None:
    now = 100.0
    pace = Pace(4, clock=lambda: now)
    assert pace.take(1) == 1
    assert (pace.wait_s, pace.take(1)) == (0.25, 0)
    now += 0.25
    assert (pace.take(10), pace.wait_s) == (4, 1.0)
    now += 0.5
    assert (pace.take(10), pace.wait_s) == (0, 0.5)
    now += 60
    assert pace.take(10) == 4
    slow = Pace(0.5, clock=lambda: now)
    assert (slow.take(10), slow.wait_s) == (1, 2.0)


async def test_killed_in_the_middle_of_an_action_repeats_it_with_the_same_ids(rig: RelayRig) -> None:
    deaf = DeafProducer(rig.producer)
    executor = rig.executor(deaf)
    action = requeue("job", parts=3)
    await executor.start()
    await act(rig, action)
    await eventually(lambda: deaf.acknowledged == 3)
    assert not await rig.has_passed(GROUP, [rig.topics.deadletter_actions.name])
    await executor.stop(grace_s=0)

    async with running(rig.executor(rate_per_second=2)):  # more than one turn for the action
        await rig.until_passed(GROUP, [rig.topics.deadletter_actions.name])
    records = await rig.jobs(6)
    assert ce_ids(records[:3]) == ce_ids(records[3:]) == [each.id for each in action.commands]


async def test_the_same_letters_requeued_twice_give_the_same_ids(rig: RelayRig) -> None:
    await act(rig, requeue("job", parts=2), requeue("job", parts=2, who="bob"))
    async with running(rig.executor()):
        await rig.until_passed(GROUP, [rig.topics.deadletter_actions.name])
    records = await rig.jobs(4)
    assert ce_ids(records[:2]) == ce_ids(records[2:])
