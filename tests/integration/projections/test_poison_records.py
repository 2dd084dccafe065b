"""Records that can never be written, of any size and under any key, hold up nothing behind them."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord

from app.local.kafka import KafkaServer
from projections.cache import AnswerCache
from projections.dead_letter_reader import DeadLetterRow, LetterFilter, LetterReader
from projections.telemetry import ProjectorMetrics
from projections.unprojected import send_unprojected
from schemas.commands import EmbedImages
from schemas.public import LETTER_PAYLOAD_BYTES
from schemas.topics import MAX_MESSAGE_BYTES, Topics
from tests.integration.projections.letters import action_on, letter_uuid
from tests.integration.projections.rig import Counted, Rig
from tests.integration.projections.samples import eventually
from tests.integration.projections.test_dead_letter_topics import send_action, send_letter, until_settled

LONG = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=4_000))
"""Neither an index nor its compression takes it."""


class KeepingRig(Rig):
    """A rig whose dead letters go to the broker, as the role's do."""

    async def dead_letter(self, record: ConsumerRecord, reason: str) -> None:
        await super().dead_letter(record, reason)
        await send_unprojected(self.producer, self.topics, record, reason)


@pytest.fixture
async def rig(kafka: KafkaServer, topics: Topics, pool: Any, cache: AnswerCache) -> AsyncIterator[KeepingRig]:
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap_servers,
        acks="all",
        enable_idempotence=True,
        max_request_size=MAX_MESSAGE_BYTES,
    )
    await producer.start()
    yield KeepingRig(kafka.bootstrap_servers, topics, pool, cache, producer)
    await producer.stop()


async def letters(rig: Rig, number: int) -> list[DeadLetterRow]:
    """The letters, once there are so many."""

    async def all_there() -> list[DeadLetterRow]:
        async with LetterReader(rig.pool).snapshot() as view:
            rows = (await view.page(LetterFilter(), 100))[0]
        return rows if len(rows) >= number else []

    return sorted(await eventually(all_there), key=lambda row: row.subject)


async def until_queued(rig: Rig, job_id: str) -> None:
    await eventually(lambda: rig.pool.fetchval("SELECT true FROM cluster_jobs WHERE job_id = $1", job_id))


async def test_what_is_too_large_or_has_any_key_is_dead_lettered_and_passed(rig: KeepingRig) -> None:
    await rig.send_bytes(rig.topics.jobs.name, LONG, b"x" * 3_100_000)
    await rig.send_bytes(rig.topics.jobs_status.name, "no/pet", b"{")
    await rig.send_bytes(rig.topics.pet_versions.name, "101", b"{")
    async with rig.running():
        command, version_letter, status = await letters(rig, 3)
        assert (command.subject, command.pet_id, command.payload_bytes) == ("command", "", LETTER_PAYLOAD_BYTES)
        assert "payload cut" in command.reason
        assert (status.subject, status.pet_id) == ("job", "")
        assert (version_letter.subject, version_letter.pet_id) == ("fact", "101")
        assert {letter.kind for letter in (command, status, version_letter)} == {"not_projected"}

        for partition in range(3):
            await rig.send(EmbedImages(pet_id="101", job_id=f"after-{partition}"), partition=partition)
        for partition in range(3):
            await until_queued(rig, f"after-{partition}")


@pytest.mark.parametrize("field", ["kind", "pet_id", "job_id", "image_id"])
async def test_a_letter_with_a_text_that_no_index_takes_is_passed(rig: KeepingRig, field: str) -> None:
    unreadable = Counted()
    async with rig.running(metrics=ProjectorMetrics(unreadable_letters=unreadable)):
        await send_letter(rig, "long", **{field: LONG})
        await send_letter(rig, "a")
        await until_settled(rig, a="open")
    assert unreadable.value == 1
    assert rig.dead == []


@pytest.mark.parametrize("field", ["who", "why", "pet_id", "job_id"])
async def test_an_action_with_a_text_that_is_too_long_is_dead_lettered(rig: KeepingRig, field: str) -> None:
    async with rig.running():
        too_long: dict[str, Any] = {field: LONG}
        await send_action(rig, action_on("discard", "a", **too_long))
        (letter,) = await letters(rig, 1)
        assert letter.reason.startswith(f"{field}: has 4000 characters")
        await send_letter(rig, "a")
        await send_action(rig, action_on("requeue", "a"))
        await eventually(
            lambda: rig.pool.fetchval(
                "SELECT true FROM dead_letters WHERE id = $1 AND state = 'requeued'", letter_uuid("a")
            )
        )


async def test_a_row_that_an_index_refuses_is_dead_lettered_and_passed(rig: KeepingRig) -> None:
    await rig.pool.execute("CREATE INDEX operators_own ON cluster_jobs (reason)")
    wide = "".join(map(chr, random.Random(1).choices(range(0x20000, 0x2A000), k=1_000)))  # four bytes each
    await rig.send(
        EmbedImages(pet_id="101", job_id="wide", reason=wide),
        EmbedImages(pet_id="101", job_id="behind"),
    )
    async with rig.running():
        await until_queued(rig, "behind")
        (letter,) = await letters(rig, 1)
        assert (letter.subject, letter.kind, letter.pet_id) == ("command", "not_projected", "101")
        assert "maximum" in letter.reason
    assert await rig.pool.fetchval("SELECT count(*) FROM cluster_jobs WHERE job_id = 'wide'") == 0
