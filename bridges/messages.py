"""Kafka messages of the bridge, as bytes: commands and dead letters with their CloudEvents headers. Pure.

Called by the loops of this package; the HTTP view makes its commands with `command_message` too, so that all have one
form.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from bridges.translate import identify_entry
from schemas.commands import EMBED_IMAGES_TYPE, EmbedImages
from schemas.headers import Headers, build_headers, timestamp
from schemas.ids import message_id
from schemas.public import DEAD_LETTER_TYPE, DeadLetterRecord
from schemas.topics import Topics

CE_SOURCE: Final = "/bridge/redis"
MAX_ERROR_TEXT: Final = 1_000


@dataclass(frozen=True)
class Message:
    """One Kafka message. `beside`: the pet in whose partition it goes if its key is no pet's; empty: its key says."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers
    beside: str = ""


@dataclass(frozen=True)
class Entry:
    """One entry of the Redis Stream."""

    id: str
    fields: Mapping[bytes, bytes]


@dataclass(frozen=True)
class Letter:
    """Why an entry is dead. `kind`: a stable word: ``invalid``, ``too_large`` or ``unexpected``."""

    entry: Entry
    kind: str
    error: str


def command_message(
    topics: Topics, command: EmbedImages, *, ce_source: str, now: datetime, traceparent: str = ""
) -> Message:
    """A command for `media.jobs`, under its own id, so that a repeat has the same."""
    headers = build_headers(
        event_id=command.id,
        event_type=EMBED_IMAGES_TYPE,
        source=ce_source,
        time=timestamp(now),
        traceparent=traceparent,
    )
    return Message(topics.jobs.name, command.pet_id.encode(), msgspec.json.encode(command), headers)


@dataclass(frozen=True)
class CommandMessages:
    """A job's messages, each made when it is sent: each repeats the job's context, so that all at once a large job's
    would be many times the size of its entry.
    """

    topics: Topics
    commands: Sequence[EmbedImages]
    ce_source: str
    now: datetime
    traceparent: str

    def __iter__(self) -> Iterator[Message]:
        for command in self.commands:
            yield command_message(
                self.topics, command, ce_source=self.ce_source, now=self.now, traceparent=self.traceparent
            )


def dead_letter_message(topics: Topics, stream_key: str, letter: Letter, *, now: datetime, limit: int) -> Message:
    """The dead letter for `media.deadletter`, with at most `limit` bytes of the original."""
    pet_id, job_id, attempts = identify_entry(letter.entry.fields)
    payload = original(letter.entry.fields)
    reason = letter.error[:MAX_ERROR_TEXT]
    if len(payload) > limit:
        reason += f" [payload cut to {limit} of {len(payload)} bytes; whole in the dead-letter stream]"
    record = DeadLetterRecord(
        subject="entry",
        kind=letter.kind,
        reason=reason,
        attempts=attempts + 1,
        source_id=f"{stream_key}/{letter.entry.id}",
        failed_at=timestamp(now),
        payload=payload[:limit],
        pet_id=pet_id,
        job_id=job_id,
    )
    headers = build_headers(
        event_id=message_id("deadletter", stream_key, letter.entry.id),
        event_type=DEAD_LETTER_TYPE,
        source=CE_SOURCE,
        time=timestamp(now),
    )
    return Message(topics.deadletter.name, pet_id.encode() or None, msgspec.json.encode(record), headers)


def dead_letter_fields(stream_key: str, letter: Letter, *, now: datetime) -> dict[str, bytes]:
    """The dead letter for the Redis dead-letter stream: `payload` and `error` as they always were, then the rest."""
    attempts = identify_entry(letter.entry.fields)[2]
    return {
        "payload": original(letter.entry.fields),
        "error": letter.error[:MAX_ERROR_TEXT].encode(),
        "reason": letter.kind.encode(),
        "attempts": str(attempts + 1).encode(),
        "source_id": f"{stream_key}/{letter.entry.id}".encode(),
        "failed_at": timestamp(now).encode(),
    }


def original(fields: Mapping[bytes, bytes]) -> bytes:
    """The entry's `payload` as it came, else all its fields as one JSON object of strings."""
    if b"payload" in fields:
        return fields[b"payload"]
    return msgspec.json.encode({_readable(name): _readable(value) for name, value in fields.items()})


def _readable(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
