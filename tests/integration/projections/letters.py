"""Dead letters and actions to write. Used by the tests about them."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec

from projections.dead_letters import RecordedAction, RecordedLetter, record_actions, record_letters
from schemas.commands import EmbedImages
from schemas.dead_letters import ActionKind, DeadLetterAction
from schemas.headers import timestamp
from schemas.ids import message_id
from schemas.public import DeadLetterRecord
from tests.integration.projections.samples import START

_offsets = itertools.count()


def letter_uuid(name: str) -> UUID:
    """The id of the letter that a test calls `name`."""
    return UUID(message_id("letter", name))


def record_of(name: str, seconds: float = 0, **more: Any) -> DeadLetterRecord:
    """An image's letter, unless told otherwise."""
    command = EmbedImages(pet_id=more.get("pet_id", "101"), job_id=more.get("job_id", "job_1"), image_ids=(name,))
    values: dict[str, Any] = {
        "subject": "image", "kind": "not_found", "reason": f"404 for {name}", "attempts": 5, "image_id": name,
        "source_id": f"media.jobs/0/{name}", "failed_at": timestamp(START + timedelta(seconds=seconds)),
        "payload": msgspec.json.encode(command), "pet_id": "101", "job_id": "job_1",
    }  # fmt: skip
    return DeadLetterRecord(**(values | more))


def action_on(kind: ActionKind, *names: str, seconds: float = 100, **more: Any) -> DeadLetterAction:
    """An operator's action on letters."""
    values: dict[str, Any] = {
        "who": "ann", "why": "tested", "at": timestamp(START + timedelta(seconds=seconds)), "pet_id": "101",
        "job_id": "job_1",
    }  # fmt: skip
    return DeadLetterAction(kind=kind, letters=tuple(str(letter_uuid(name)) for name in names), **(values | more))


async def write(pool: Any, *messages: tuple[str, DeadLetterRecord] | DeadLetterAction) -> dict[str, int]:
    """Write as the projector does, a transaction a message. Returns how many letters of each subject were new."""
    new: dict[str, int] = {}
    for message in messages:
        offset = next(_offsets)
        async with pool.acquire() as connection, connection.transaction():
            if isinstance(message, DeadLetterAction):
                await record_actions(connection, [RecordedAction(message, msgspec.json.encode(message), 0, offset)])
                continue
            name, record = message
            for subject, number in (
                await record_letters(connection, [RecordedLetter(letter_uuid(name), record, 0, offset)])
            ).items():
                new[subject] = new.get(subject, 0) + number
    return new


def letter(name: str, seconds: float = 0, **more: Any) -> tuple[str, DeadLetterRecord]:
    """A letter under its name, for `write`."""
    return name, record_of(name, seconds, **more)
