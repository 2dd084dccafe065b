"""Dead letters and what operators did to them, as rows. Called by `projections.batches` inside its transaction.

A letter is open until an action names it. Letters and actions come from two topics, so each may be written first:
whichever comes second settles the letter. A requeue stands over a discard, since it has effects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import msgspec

from projections.jobs import MAX_RUN
from projections.queries import load
from projections.text import INT_MAX, clean, count, moment
from schemas.bounds import MAX_NAME, MAX_TEXT, check_text
from schemas.dead_letters import DeadLetterAction, decode_action
from schemas.errors import DeadLetter, InvalidInput
from schemas.ids import ID_MAX_LENGTH, message_id
from schemas.public import DeadLetterRecord

_letter = msgspec.json.Decoder(DeadLetterRecord)
MAX_WHO: Final = 200
"""Characters of an action's `who`; `why` has up to `schemas.bounds.MAX_TEXT`."""
_LETTER_LENGTHS: Final = {"kind": MAX_NAME, "pet_id": ID_MAX_LENGTH, "job_id": ID_MAX_LENGTH, "image_id": ID_MAX_LENGTH}
"""Of the texts that stand in an index, which takes no long ones."""
_ACTION_LENGTHS: Final = {"who": MAX_WHO, "why": MAX_TEXT, "pet_id": ID_MAX_LENGTH, "job_id": ID_MAX_LENGTH}


@dataclass(frozen=True, slots=True)
class RecordedLetter:
    """A letter with its id (`ce_id`) and where it stands in `media.deadletter`."""

    id: UUID
    letter: DeadLetterRecord
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class RecordedAction:
    """An action, its very bytes, and where it stands in `media.deadletter.actions`."""

    action: DeadLetterAction
    message: bytes
    partition: int
    offset: int


def decode_letter(value: bytes) -> DeadLetterRecord:
    """A letter whose row fits its table. Raises DeadLetter, which the caller must not dead-letter once more."""
    try:
        letter = _letter.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DeadLetter(f"not a dead letter: {error}") from error
    for field, limit in _LETTER_LENGTHS.items():
        check_text(getattr(letter, field), field, limit)
    moment(letter.failed_at, "failed_at")
    count(letter.attempts, "attempts", INT_MAX)
    count(letter.run, "run", MAX_RUN)
    return letter


def decode_letter_action(value: bytes) -> DeadLetterAction:
    """An action whose row fits its table. Raises DeadLetter."""
    action = decode_action(value)
    for field, limit in _ACTION_LENGTHS.items():
        check_text(getattr(action, field), field, limit)
    moment(action.at, "at")
    _uuids(action)
    return action


def letter_id(ce_id: str, topic: str, partition: int, offset: int) -> UUID:
    """The letter's row key: its `ce_id`, or for a letter of others without one, an id of where it stands."""
    try:
        return UUID(ce_id)
    except ValueError:
        return UUID(message_id("deadletter-at", topic, partition, offset))


async def record_letters(connection: Any, letters: Sequence[RecordedLetter]) -> Counter[str]:
    """Keep the letters, settled by actions that came before. Returns how many of each subject are new."""
    rows = [_letter_row(recorded) for recorded in letters]
    new = await connection.fetch(load("insert_dead_letters"), *map(list, zip(*rows, strict=True)))
    if new:
        await connection.execute(load("settle_dead_letters"), [row["id"] for row in new])
    return Counter(row["subject"] for row in new)


async def record_actions(connection: Any, actions: Sequence[RecordedAction]) -> None:
    """Keep the actions and settle the letters that they name; a repeat changes nothing."""
    await connection.execute(load("lock_dead_letters"))
    await connection.executemany(load("insert_dead_letter_action"), [_action_row(recorded) for recorded in actions])
    named = {letter for recorded in actions for letter in _uuids(recorded.action)}
    await connection.execute(load("settle_dead_letters"), sorted(named))


async def count_open(connection: Any) -> int:
    """How many letters nobody has requeued or discarded."""
    number: int = await connection.fetchval(load("count_open_dead_letters"))
    return number


def _letter_row(recorded: RecordedLetter) -> tuple[Any, ...]:
    letter = recorded.letter
    return (
        recorded.id,
        letter.subject,
        clean(letter.kind),
        clean(letter.reason),
        letter.attempts,
        letter.run,
        clean(letter.source_id),
        moment(letter.failed_at, "failed_at"),
        letter.payload,
        clean(letter.pet_id),
        clean(letter.job_id),
        clean(letter.image_id),
        recorded.partition,
        recorded.offset,
    )


def _action_row(recorded: RecordedAction) -> tuple[Any, ...]:
    action = recorded.action
    return (
        UUID(action.id),
        action.kind,
        list(_uuids(action)),
        clean(action.pet_id),
        clean(action.job_id),
        clean(action.who),
        clean(action.why),
        moment(action.at, "at"),
        recorded.message,
        recorded.partition,
        recorded.offset,
    )


def _uuids(action: DeadLetterAction) -> tuple[UUID, ...]:
    """The row keys of the letters that an action names. Raises InvalidInput for what is no letter's id."""
    try:
        return tuple(UUID(letter) for letter in action.letters)
    except ValueError as error:
        raise InvalidInput("letters", f"must be UUIDs: {error}") from error
