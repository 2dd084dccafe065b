"""What agents put into `media.deadletter`. The message's id comes from what caused it, so a repeat has the same id."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from faust.types import TopicT

from agents.delivery import Ticket
from schemas.commands import EmbedImages
from schemas.facts import FailedImage
from schemas.headers import build_headers, header, record_moment, timestamp
from schemas.ids import message_id, pet_key
from schemas.public import DEAD_LETTER_TYPE, LETTER_PAYLOAD_BYTES, DeadLetterRecord, bounded_letter
from schemas.topics import position_of


def send_dead_letter(
    ticket: Ticket,
    topic: TopicT,
    record: DeadLetterRecord,
    *,
    source: str,
    key: bytes | None,
    cause: tuple[object, ...] = (),
) -> None:
    """Queue `record` on the ticket of the event that caused it.

    `cause`: what its id is made of, when a repeat of the cause may stand elsewhere in the topic; else where it stands.
    """
    headers = build_headers(
        event_id=message_id("deadletter", record.subject, *(cause or (record.source_id,))),
        event_type=DEAD_LETTER_TYPE,
        source=source,
        time=record.failed_at,
        traceparent=header(ticket.event.message.headers, "traceparent"),
    )
    ticket.send(topic, key=pet_key(key), value=msgspec.json.encode(bounded_letter(record)), headers=headers)


def broker_time(message: Any) -> str:
    """When a message was written: the same for every reader, unlike a clock. Faust tells it in seconds."""
    return timestamp(record_moment(message.timestamp * 1000))


def unreadable_record(subject: Literal["fact", "command"], message: Any, reason: str) -> DeadLetterRecord:
    """The dead letter of a message that is no fact, or no command, of this release."""
    return DeadLetterRecord(
        subject=subject,
        kind="unreadable",
        reason=reason,
        attempts=1,
        source_id=position_of(message),
        failed_at=broker_time(message),
        payload=message.value or b"",
        pet_id=(pet_key(message.key) or b"").decode(),
    )


def image_record(message: Any, command: EmbedImages, dead: FailedImage) -> DeadLetterRecord:
    """The dead letter of one image of a command."""
    return DeadLetterRecord(
        subject="image",
        kind=dead.kind,
        reason=dead.reason,
        attempts=command.attempt,
        run=command.run,
        source_id=position_of(message),
        failed_at=broker_time(message),
        # A requeue needs the whole command, and foreign fields may have swollen the message.
        payload=message.value if len(message.value) <= LETTER_PAYLOAD_BYTES else msgspec.json.encode(command),
        pet_id=command.pet_id,
        job_id=command.job_id,
        image_id=dead.image_id,
    )
