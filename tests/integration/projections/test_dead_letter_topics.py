"""The projector on the real broker: letters and actions become rows, and what is no letter goes round no circle."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from app.local.kafka import KafkaServer
from projections.cache import AnswerCache
from projections.dead_letter_reader import DeadLetterRow, LetterFilter, LetterReader
from projections.telemetry import ProjectorMetrics
from schemas.dead_letters import DEAD_LETTER_ACTION_TYPE, DeadLetterAction
from schemas.errors import StopProcess
from schemas.headers import Headers, build_headers
from schemas.public import DEAD_LETTER_TYPE
from schemas.topics import Topics
from tests.integration.projections.letters import action_on, letter_uuid, record_of
from tests.integration.projections.rig import Counted, Rig
from tests.integration.projections.samples import eventually
from tests.integration.projections.test_jobs import at


class Shown(Counted):
    """A gauge that can be read."""

    def set(self, value: float) -> None:
        self.value = value


@pytest.fixture
async def rig(kafka: KafkaServer, topics: Topics, pool: Any, cache: AnswerCache) -> AsyncIterator[Rig]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, acks="all", enable_idempotence=True)
    await producer.start()
    yield Rig(kafka.bootstrap_servers, topics, pool, cache, producer)
    await producer.stop()


def headers(event_id: str, event_type: str) -> Headers:
    return build_headers(event_id=event_id, event_type=event_type, source="/test", time=at(0))


async def send_letter(rig: Rig, name: str, **more: Any) -> None:
    value = msgspec.json.encode(record_of(name, **more))
    await rig.send_bytes(rig.topics.deadletter.name, "101", value, headers(str(letter_uuid(name)), DEAD_LETTER_TYPE))


async def send_action(rig: Rig, action: DeadLetterAction) -> None:
    value = msgspec.json.encode(action)
    await rig.send_bytes(rig.topics.deadletter_actions.name, "101", value, headers(action.id, DEAD_LETTER_ACTION_TYPE))


async def rows(rig: Rig) -> list[DeadLetterRow]:
    async with LetterReader(rig.pool).snapshot() as view:
        return (await view.page(LetterFilter(state="all"), 100))[0]


async def until_settled(rig: Rig, **states: str) -> None:
    """Until the letters, by name, are in these states and there are no others."""
    expected = {str(letter_uuid(name)): state for name, state in states.items()}

    async def settled() -> bool:
        return {row.id: row.state for row in await rows(rig)} == expected

    await eventually(settled)


async def test_letters_and_actions_are_projected_and_a_restart_repeats_nothing(rig: Rig) -> None:
    counted = {subject: Counted() for subject in ("image", "job")}
    shown = Shown()
    metrics = ProjectorMetrics(dead_letters=lambda subject: counted[subject], open_letters=shown)
    action = action_on("requeue", "a")
    async with rig.running(metrics=metrics):
        await send_letter(rig, "a")
        await send_letter(rig, "a")
        await send_letter(rig, "b", subject="job")
        await send_action(rig, action)
        await send_action(rig, action)
        await until_settled(rig, a="requeued", b="open")
    async with rig.running(metrics=metrics):
        await send_letter(rig, "c", subject="job")
        await until_settled(rig, a="requeued", b="open", c="open")
    assert {subject: counter.value for subject, counter in counted.items()} == {"image": 1, "job": 2}
    assert rig.dead == []
    message = await rig.pool.fetchval("SELECT message FROM dead_letter_actions WHERE id = $1", action.id)
    assert message == msgspec.json.encode(action)

    async with rig.running(metrics=metrics):

        async def told() -> bool:
            return shown.value == 2

        await eventually(told)


async def test_what_is_no_letter_is_counted_and_passed_but_never_dead_lettered_again(rig: Rig) -> None:
    unreadable = Counted()
    topic = rig.topics.deadletter.name
    async with rig.running(metrics=ProjectorMetrics(unreadable_letters=unreadable)):
        for value in (b"{", b"[1]", msgspec.json.encode(record_of("x", failed_at="never"))):
            await rig.send_bytes(topic, "101", value, headers("x", DEAD_LETTER_TYPE))
        await send_letter(rig, "a")
        await until_settled(rig, a="open")
    assert unreadable.value == 3
    assert rig.dead == []


async def test_a_letter_that_postgres_refuses_does_not_hold_up_the_others(rig: Rig, pool: Any) -> None:
    await pool.execute("ALTER TABLE dead_letters ADD CONSTRAINT refuse CHECK (image_id != 'bad')")
    unreadable = Counted()
    for name in ("a", "bad", "b"):
        await send_letter(rig, name)
    async with rig.running(metrics=ProjectorMetrics(unreadable_letters=unreadable)):
        await until_settled(rig, a="open", b="open")
    assert unreadable.value == 1
    assert rig.dead == []


async def test_what_is_no_action_is_dead_lettered_once(rig: Rig) -> None:
    topic = rig.topics.deadletter_actions.name
    async with rig.running():
        await rig.send_bytes(topic, "101", b"{", headers("x", DEAD_LETTER_ACTION_TYPE))
        await send_letter(rig, "a")
        await send_action(rig, action_on("discard", "a"))
        await until_settled(rig, a="discarded")
    assert [(name, value) for name, value, _reason in rig.dead] == [("media.deadletter.actions", b"{")]


async def test_a_letter_of_a_newer_release_stops_the_projector(rig: Rig) -> None:
    await rig.send_bytes(rig.topics.deadletter.name, "101", b"{}", headers("x", "media.DeadLetter.v2"))
    with pytest.raises(StopProcess, match="newer release"):
        await rig.projector().run()
