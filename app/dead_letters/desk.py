"""Looks at dead letters and acts on them: reads, resolves, sends. Used by the views and by the command line.

An action is done when the broker has it: `bridges.requeue` executes it, and the projector settles the letters that it
names a moment later. Until then, and after, a repeat for the same letters sends the same action again, which changes
nothing. A filter, or a job's letter, takes more letters when some were added meanwhile: then that is another action,
with a requeue of its own, which repeats the first one's images unless the projector had settled their letters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import msgspec

from app.dead_letters.drafts import Drafts
from app.dead_letters.resolution import Order
from bridges.messages import Message
from projections.dead_letter_reader import (
    DeadLetterDetail,
    DeadLetterRow,
    LetterFilter,
    LetterReader,
    LetterView,
    run_of,
    with_payload,
)
from schemas.dead_letters import DEAD_LETTER_ACTION_TYPE, ActionKind, DeadLetterAction
from schemas.headers import build_headers, timestamp
from schemas.topics import Topics

Send = Callable[[Sequence[Message]], Awaitable[None]]
"""``await send(messages)`` returns when the broker has confirmed all of them."""


class LetterNotFound(Exception):
    """There is no letter with this id."""


class CountChanged(Exception):
    """The filter takes another number of letters than was expected: `count`."""

    def __init__(self, count: int) -> None:
        super().__init__(f"the filter takes {count} letters now")
        self.count = count


class TooManyLetters(Exception):
    """The filter takes `count` letters, more than one request may act on."""

    def __init__(self, count: int, limit: int) -> None:
        super().__init__(f"the filter takes {count} letters, at most {limit} are acted on at once")
        self.count = count


class Acted(msgspec.Struct, frozen=True, kw_only=True):
    """An action that the broker has. `letters`: how many it names. `commands`: how many it will submit."""

    id: str
    kind: ActionKind
    pet_id: str
    job_id: str
    letters: int
    commands: int


class RefusedLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A letter that could not be acted on, and why."""

    id: str
    reason: str


@dataclass
class Result:
    """What came of a request."""

    actions: list[Acted] = field(default_factory=list)
    refused: list[RefusedLetter] = field(default_factory=list)


class LetterDesk:
    """`timeout`: seconds that reading about one letter, or counting, may take. `ce_source`: who sends the actions."""

    def __init__(
        self,
        reader: LetterReader,
        send: Send,
        *,
        topics: Topics,
        clock: Callable[[], datetime],
        ce_source: str,
        timeout: float,
    ) -> None:
        self._reader = reader
        self._send = send
        self._topic = topics.deadletter_actions.name
        self._clock = clock
        self._ce_source = ce_source
        self._timeout = timeout

    async def page(
        self, letters: LetterFilter, limit: int, cursor: str | None = None
    ) -> tuple[list[DeadLetterRow], str | None]:
        """A page of letters, newest first, and the cursor of the next. Raises InvalidInput."""
        async with asyncio.timeout(self._timeout), self._reader.snapshot() as view:
            return await view.page(letters, limit, cursor)

    async def show(self, letter_id: UUID) -> DeadLetterDetail:
        """One letter with its payload. Raises LetterNotFound."""
        async with asyncio.timeout(self._timeout), self._reader.snapshot() as view:
            letter = await _existing(view, letter_id)
            return with_payload(letter, await view.payload(letter.id))

    async def count(self, letters: LetterFilter) -> int:
        """How many letters a filter takes. Raises InvalidInput."""
        async with asyncio.timeout(self._timeout), self._reader.snapshot() as view:
            return await view.count(letters)

    async def act(self, kind: ActionKind, letter_id: UUID, *, who: str, why: str) -> Result:
        """Requeue or discard one letter. Raises LetterNotFound, or Refused with the reason."""
        drafts = Drafts(kind, Order(who, why, timestamp(self._clock())))
        async with asyncio.timeout(self._timeout), self._reader.snapshot() as view:
            await drafts.add(view, [await _existing(view, letter_id)])
        if drafts.refused:
            raise drafts.refused[0]
        return Result(await self._dispatch(drafts.take()))

    async def act_on_some(self, kind: ActionKind, letter_ids: Sequence[UUID], *, who: str, why: str) -> Result:
        """Requeue or discard these letters, those of one run together. What cannot be acted on is told, not raised."""
        drafts, result = Drafts(kind, Order(who, why, timestamp(self._clock()))), Result()
        runs: dict[tuple[str, str, int], list[DeadLetterRow]] = {}
        async with asyncio.timeout(self._timeout), self._reader.snapshot() as view:
            for letter_id in dict.fromkeys(letter_ids):
                letter = await view.letter(letter_id)
                if letter is None:
                    result.refused.append(RefusedLetter(id=str(letter_id), reason="no such dead letter is known"))
                else:
                    runs.setdefault(run_of(letter), []).append(letter)
            for run in runs.values():
                await drafts.add(view, run)
        result.actions += await self._dispatch(drafts.take())
        result.refused += _refused(drafts)
        return result

    async def act_on_all(
        self,
        kind: ActionKind,
        letters: LetterFilter,
        *,
        who: str,
        why: str,
        expected_count: int,
        limit: int | None = None,
    ) -> Result:
        """Requeue or discard what a filter takes, at most `limit` letters. What cannot be acted on is told, not raised.

        Raises InvalidInput, CountChanged or TooManyLetters before anything is sent.
        """
        drafts, result = Drafts(kind, Order(who, why, timestamp(self._clock()))), Result()
        async with self._reader.snapshot() as view:
            count = await view.count(letters)
            if count != expected_count:
                raise CountChanged(count)
            if limit is not None and count > limit:
                raise TooManyLetters(count, limit)
            async with aclosing(view.selected(letters)) as runs:
                async for run in runs:
                    await drafts.add(view, run)
                    if drafts.full:
                        result.actions += await self._dispatch(drafts.take())
        result.actions += await self._dispatch(drafts.take())
        result.refused = _refused(drafts)
        return result

    async def _dispatch(self, actions: Sequence[tuple[DeadLetterAction, bytes]]) -> list[Acted]:
        await self._send([self._message(action, value) for action, value in actions])
        return [
            Acted(
                id=action.id,
                kind=action.kind,
                pet_id=action.pet_id,
                job_id=action.job_id,
                letters=len(action.letters),
                commands=len(action.commands),
            )
            for action, _value in actions
        ]

    def _message(self, action: DeadLetterAction, value: bytes) -> Message:
        headers = build_headers(
            event_id=action.id, event_type=DEAD_LETTER_ACTION_TYPE, source=self._ce_source, time=action.at
        )
        return Message(self._topic, action.pet_id.encode() or None, value, headers)


def _refused(drafts: Drafts) -> list[RefusedLetter]:
    return [RefusedLetter(id=each, reason=one.reason) for one in drafts.refused for each in one.letters]


async def _existing(view: LetterView, letter_id: UUID) -> DeadLetterRow:
    letter = await view.letter(letter_id)
    if letter is None:
        raise LetterNotFound(str(letter_id))
    return letter
