"""What the API and the command line read about dead letters. Called by `app.dead_letters`; nothing writes here."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec

from projections.cursors import decode_cursor, encode_cursor
from projections.queries import load
from projections.text import moment
from schemas.errors import InvalidInput
from schemas.headers import timestamp
from schemas.ids import job_key

MAX_PAGE: Final = 500
FETCH_ROWS: Final = 500
LOOSE_LETTERS: Final = 64

LetterState = Literal["open", "requeued", "discarded"]
FilterState = Literal["open", "requeued", "discarded", "all"]
Subject = Literal["entry", "command", "image", "job", "fact"]
Moment = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]


class LetterFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which letters; a field that is None, or the state `all`, takes any. `since` ≤ failed_at < `until`, RFC 3339."""

    state: FilterState = "open"
    subject: Subject | None = None
    kind: str | None = None
    pet_id: str | None = None
    job_id: str | None = None
    since: Moment | None = None
    until: Moment | None = None

    def columns(self) -> tuple[Any, ...]:
        """The first parameters of the statements. Raises InvalidInput naming the field."""
        return (
            None if self.state == "all" else self.state,
            self.subject,
            _text(self.kind, "kind"),
            _text(self.pet_id, "pet_id"),
            _text(self.job_id, "job_id"),
            None if self.since is None else moment(self.since, "since"),
            None if self.until is None else moment(self.until, "until"),
        )


class DeadLetterRow(msgspec.Struct, frozen=True, kw_only=True):
    """A letter without its payload. Times are RFC 3339. `acted_at`, `who`, `why`, `action_id`: of what settled it."""

    id: str
    subject: Subject
    kind: str
    reason: str
    attempts: int
    run: int
    source_id: str
    failed_at: str
    pet_id: str
    job_id: str
    image_id: str
    payload_bytes: int
    state: LetterState
    acted_at: str | None
    who: str
    why: str
    action_id: str | None


class DeadLetterDetail(DeadLetterRow, frozen=True, kw_only=True):
    """A letter with its payload: as `text` when it is JSON in UTF-8, else as `base64`."""

    payload: str
    payload_encoding: Literal["text", "base64"]


class LetterReader:
    """Reads on an asyncpg pool, which raises asyncpg's or OSError's errors while Postgres is away."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[LetterView]:
        """A view of one moment: what is counted is what is read."""
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield LetterView(connection)


class LetterView:
    """The letters at one moment. One call at a time."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def page(
        self, letters: LetterFilter, limit: int, before_cursor: str | None = None
    ) -> tuple[list[DeadLetterRow], str | None]:
        """A page, newest first, and the cursor of the next. Raises InvalidInput for a bad limit, cursor or filter."""
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidInput("limit", f"must be between 1 and {MAX_PAGE}, got {limit}")
        before, key = decode_cursor(before_cursor) if before_cursor else (None, None)
        rows = await self._connection.fetch(load("list_dead_letters"), *letters.columns(), before, key, limit + 1)
        following = encode_cursor(rows[limit - 1]["failed_at"], rows[limit - 1]["id"]) if len(rows) > limit else None
        return [_letter(row) for row in rows[:limit]], following

    async def count(self, letters: LetterFilter) -> int:
        """How many letters the filter takes. Raises InvalidInput for a bad filter."""
        number: int = await self._connection.fetchval(load("count_dead_letters"), *letters.columns())
        return number

    async def selected(self, letters: LetterFilter) -> AsyncGenerator[list[DeadLetterRow], None]:
        """The filter's letters, in lists of one run of a job each; those of no job in lists of 64 at most.

        Raises InvalidInput for a bad filter.
        """
        run: list[DeadLetterRow] = []
        async for row in self._connection.cursor(load("select_dead_letters"), *letters.columns(), prefetch=FETCH_ROWS):
            letter = _letter(row)
            if run and (run_of(run[0]) != run_of(letter) or (not letter.job_id and len(run) == LOOSE_LETTERS)):
                yield run
                run = []
            run.append(letter)
        if run:
            yield run

    async def letter(self, letter_id: UUID) -> DeadLetterRow | None:
        """One letter."""
        row = await self._connection.fetchrow(load("read_dead_letter"), letter_id)
        return None if row is None else _letter(row)

    async def payload(self, letter_id: str) -> bytes:
        """The original bytes of a letter that is there."""
        payload: bytes = await self._connection.fetchval(load("read_dead_letter_payload"), UUID(letter_id))
        return payload

    async def open_images(self, letter: DeadLetterRow) -> list[DeadLetterRow]:
        """The open letters of the images of a letter's run."""
        rows = await self._connection.fetch(load("list_open_images_of_run"), letter.pet_id, letter.job_id, letter.run)
        return [_letter(row) for row in rows]

    async def first_commands(self, letter: DeadLetterRow) -> list[bytes]:
        """The commands that a letter's run began with, as far as they are known, as JSON."""
        key = job_key(letter.pet_id, letter.job_id)
        rows = await self._connection.fetch(load("list_first_commands_of_run"), key, letter.run)
        return [row["command"].encode() for row in rows]

    async def action_message(self, action_id: str) -> bytes:
        """The message of a recorded action."""
        message: bytes = await self._connection.fetchval(load("read_dead_letter_action"), UUID(action_id))
        return message


def with_payload(letter: DeadLetterRow, payload: bytes) -> DeadLetterDetail:
    """The letter and its payload, readable where it can be."""
    try:
        msgspec.json.decode(payload)
        text, encoding = payload.decode(), "text"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text, encoding = base64.b64encode(payload).decode(), "base64"
    return msgspec.convert(
        {**msgspec.structs.asdict(letter), "payload": text, "payload_encoding": encoding}, DeadLetterDetail
    )


def run_of(letter: DeadLetterRow) -> tuple[str, str, int]:
    """Which run of which job of which pet a letter is about; empty ids for none."""
    return letter.pet_id, letter.job_id, letter.run


def _letter(row: Any) -> DeadLetterRow:
    action_id, acted_at = row["action_id"], row["acted_at"]
    return DeadLetterRow(
        id=str(row["id"]),
        subject=row["subject"],
        kind=row["kind"],
        reason=row["reason"],
        attempts=row["attempts"],
        run=row["run"],
        source_id=row["source_id"],
        failed_at=timestamp(row["failed_at"]),
        pet_id=row["pet_id"],
        job_id=row["job_id"],
        image_id=row["image_id"],
        payload_bytes=row["payload_bytes"],
        state=row["state"],
        acted_at=_optional(acted_at),
        who=row["who"],
        why=row["why"],
        action_id=None if action_id is None else str(action_id),
    )


def _optional(at: datetime | None) -> str | None:
    return None if at is None else timestamp(at)


def _text(value: str | None, field: str) -> str | None:
    """A text that a statement takes."""
    if value is not None and "\x00" in value:
        raise InvalidInput(field, "holds a NUL character")
    if value is not None and any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidInput(field, "is not UTF-8")
    return value
