"""Takes users' decisions, and finds them. Used by the views.

known already?  → what became of it     a decision's id makes it one
refused early?  → why                   from the rows of Postgres
into the log                            sealed under the pet's key; the broker's word is waited for
settled         → what became of it     as soon as the projector has written it
not in time     → pending               it will be settled all the same
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, Protocol

import structlog

from app.decisions.draft import Draft
from app.decisions.early import PetUnknown, Refused, check_early, clusters_named, images_named
from bridges.messages import Message
from projections.arrivals import TooManyWaiting
from projections.away import POSTGRES_ERRORS
from projections.decision_reader import DecisionFilter, DecisionReader, DecisionRow, Standing
from projections.own_writes import OwnWrites
from schemas.codec import encode_fact, fact_type
from schemas.headers import build_headers, timestamp
from schemas.ids import message_id
from schemas.pet_keys import PET_KEY_TYPE, PetKey, encode_key
from schemas.topics import Topics

log = structlog.get_logger(__name__)

BETWEEN_SECONDS: Final = 0.3
"""How long the word on a decision may be behind the version that it made."""


class IdTaken(Exception):
    """The pet has another decision of this id."""


class CurrentKey(Protocol):
    """The key under which a pet's facts are sealed now; see `app.views.sealing`."""

    async def __call__(self, pet_id: str, now: str, publish: Callable[[PetKey], Awaitable[None]]) -> PetKey | None:
        """None when a purge has destroyed all that the pet had. `publish`: returns once the broker has a new one.

        Raises the errors of `send`.
        """
        ...


class DecisionDesk:
    """`timeout`: seconds that a question to Postgres may take; `wait`: that a decision is waited for.

    `send(messages)` returns when the broker has confirmed all of them. `ce_source`: who sends.
    """

    def __init__(
        self,
        decisions: DecisionReader,
        own_writes: OwnWrites,
        send: Callable[[Sequence[Message]], Awaitable[None]],
        current_key: CurrentKey,
        *,
        topics: Topics,
        clock: Callable[[], datetime],
        ce_source: str,
        timeout: float,
        wait: float,
    ) -> None:
        self._decisions = decisions
        self._own_writes = own_writes
        self._send = send
        self._current_key = current_key
        self._topic = topics.pet_log.name
        self._keys_topic = topics.pet_keys.name
        self._clock = clock
        self._ce_source = ce_source
        self._timeout = timeout
        self._wait = wait

    async def decide(self, draft: Draft, *, traceparent: str = "") -> tuple[DecisionRow | None, bool]:
        """What became of the decision, None when it is in the log and not settled yet; and whether it was known before.

        One that was carried out or refused is told again for as long as its pet is kept, and written once. Raises
        IdTaken; of one that is not written PetUnknown, NotYetAt and Refused; the errors of Postgres and of `send`.
        """
        if draft.may_be_known and (known := await self.find(draft.pet_id, draft.decision_id)) is not None:
            return _same(draft, known), True
        try:
            check_early(draft, await self._standing(draft))
        except Refused:
            # What was sent before has perhaps just changed the album so that it can not be done again.
            known = await self._settled(draft, min(self._wait, BETWEEN_SECONDS)) if draft.may_be_known else None
            if known is None:
                raise
            return _same(draft, known), True
        now = timestamp(self._clock())
        key = await self._current_key(draft.pet_id, now, lambda key: self._send([self._key_message(key)]))
        if key is None:
            raise PetUnknown
        await self._send([self._message(draft, key, now, traceparent)])
        row = await self._settled(draft, self._wait)
        return None if row is None else _same(draft, row), False

    async def find(self, pet_id: str, decision_id: str) -> DecisionRow | None:
        """A decision of the pet, None when none of this id is known (yet)."""
        async with asyncio.timeout(self._timeout):
            return await self._decisions.find(pet_id, decision_id)

    async def page(
        self, pet_id: str, which: DecisionFilter, limit: int, cursor: str | None
    ) -> tuple[list[DecisionRow], str | None]:
        """A page of the pet's decisions, newest first, and the cursor of the next. Raises InvalidInput for a cursor."""
        async with asyncio.timeout(self._timeout):
            return await self._decisions.page(pet_id, which, limit, cursor)

    async def _standing(self, draft: Draft) -> Standing:
        async with asyncio.timeout(self._timeout):
            return await self._decisions.standing(draft.pet_id, clusters_named(draft), images_named(draft))

    async def _settled(self, draft: Draft, seconds: float) -> DecisionRow | None:
        """What became of it. Not to know is no failure: the decision stands in the log, or nowhere."""
        try:
            return await self._own_writes.decision(draft.pet_id, draft.decision_id, seconds=seconds)
        except (*POSTGRES_ERRORS, TooManyWaiting) as error:
            log.warning("decision_not_awaited", pet_id=draft.pet_id, error=repr(error))
            return None

    def _key_message(self, key: PetKey) -> Message:
        identity = message_id("key", key.key_id)
        headers = build_headers(event_id=identity, event_type=PET_KEY_TYPE, source=self._ce_source, time=key.created_at)
        return Message(self._keys_topic, key.key_id.encode(), encode_key(key), headers, beside=key.pet_id)

    def _message(self, draft: Draft, key: PetKey, now: str, traceparent: str) -> Message:
        fact = draft.fact()
        event_id = message_id("decision", draft.pet_id, draft.decision_id)
        headers = build_headers(
            event_id=event_id, event_type=fact_type(fact), source=self._ce_source, time=now, traceparent=traceparent
        )
        value = encode_fact(fact, event_id=event_id, time=now, pet_id=draft.pet_id, key=key)
        return Message(self._topic, draft.pet_id.encode(), value, headers)


def _same(draft: Draft, row: DecisionRow) -> DecisionRow:
    if not draft.is_same(row):
        raise IdTaken
    return row
