"""What agents put into `media.deadletter`. The message's id comes from what caused it, so a repeat has the same id."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from faust.types import TopicT

from agents.delivery import Ticket
from schemas.headers import build_headers, timestamp
from schemas.ids import message_id
from schemas.public import DEAD_LETTER_TYPE, DeadLetterRecord


def send_dead_letter(
    ticket: Ticket, topic: TopicT, record: DeadLetterRecord, *, source: str, key: bytes | None
) -> None:
    """Queue `record` on the ticket of the event that caused it."""
    headers = build_headers(
        event_id=message_id("deadletter", record.subject, record.source_id, record.image_id),
        event_type=DEAD_LETTER_TYPE,
        source=source,
        time=record.failed_at,
    )
    ticket.send(topic, key=key, value=msgspec.json.encode(record), headers=headers)


def position(message: Any) -> str:
    """Where a message stands: ``topic/partition/offset``."""
    return f"{message.topic}/{message.partition}/{message.offset}"


def broker_time(message: Any) -> str:
    """When the broker took a message: the same for every reader, unlike a clock."""
    return timestamp(datetime.fromtimestamp(message.timestamp, UTC))


def fact_record(message: Any, reason: str) -> DeadLetterRecord:
    """The dead letter of a fact that cannot be folded."""
    return DeadLetterRecord(
        subject="fact",
        kind="not_folded",
        reason=reason,
        attempts=1,
        source_id=position(message),
        failed_at=broker_time(message),
        payload=message.value or b"",
        pet_id=(message.key or b"").decode("utf-8", "replace"),
    )


def command_record(message: Any, reason: str) -> DeadLetterRecord:
    """The dead letter of a command that cannot be read."""
    return DeadLetterRecord(
        subject="command",
        kind="invalid",
        reason=reason,
        attempts=1,
        source_id=position(message),
        failed_at=broker_time(message),
        payload=message.value or b"",
        pet_id=(message.key or b"").decode("utf-8", "replace"),
    )
