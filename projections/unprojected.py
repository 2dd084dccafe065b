"""The dead letter of a record that cannot be projected. Called by `app.roles.project` for the projector."""

from __future__ import annotations

from typing import Any, Final, Literal, Protocol

import msgspec
from aiokafka import ConsumerRecord

from schemas.headers import Headers, build_headers, record_moment, timestamp
from schemas.ids import message_id, pet_key
from schemas.public import DEAD_LETTER_TYPE, DeadLetterRecord, bounded_letter
from schemas.topics import Topics, position_of

CE_SOURCE: Final = "/project"
KIND: Final = "not_projected"


class Producer(Protocol):
    """What is used of aiokafka's producer. It must be idempotent with acks=all."""

    async def send_and_wait(self, topic: str, value: bytes, *, key: bytes | None, headers: Headers) -> Any:
        """Returns when the broker has the message."""
        ...


async def send_unprojected(producer: Producer, topics: Topics, record: ConsumerRecord, reason: str) -> None:
    """Keep a record that cannot be projected, whatever its size and key. Returns when the broker has the letter."""
    source_id, pet = position_of(record), pet_key(record.key)
    letter = DeadLetterRecord(
        subject=_subject(topics, record.topic),
        kind=KIND,
        reason=reason,
        attempts=1,
        source_id=source_id,
        failed_at=timestamp(record_moment(record.timestamp)),
        payload=record.value or b"",
        pet_id=(pet or b"").decode(),
    )
    headers = build_headers(
        # Not of the subject: embed may send a letter about the same command, and one id must not name two messages.
        event_id=message_id("deadletter", KIND, source_id),
        event_type=DEAD_LETTER_TYPE,
        source=CE_SOURCE,
        time=letter.failed_at,
    )
    value = msgspec.json.encode(bounded_letter(letter))
    await producer.send_and_wait(topics.deadletter.name, value, key=pet, headers=headers)


def _subject(topics: Topics, topic: str) -> Literal["command", "job", "fact"]:
    """What a topic's records are; versions and operators' actions are facts."""
    if topic == topics.jobs.name:
        return "command"
    return "job" if topic == topics.jobs_status.name else "fact"
