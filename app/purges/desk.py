"""Asks for purges and finds their receipts. Used by the views and by the command line.

A purge is asked for when the broker has the command: embed and the fold carry it out, and the projector writes the
receipt. A purge's id makes it one: one that is known is not asked for again.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import msgspec

from bridges.messages import Message
from projections.purges import PurgeRecords, PurgeRow
from schemas.commands import PURGE_PET_TYPE, PurgePet
from schemas.headers import build_headers, timestamp
from schemas.topics import Topics

Send = Callable[[Sequence[Message]], Awaitable[None]]
"""``await send(messages)`` returns when the broker has confirmed all of them."""


def make_purge_id() -> str:
    """The id of a purge whose caller gives none."""
    return uuid.uuid4().hex


class PurgeDesk:
    """`timeout`: seconds that a question to Postgres may take. `ce_source`: who sends the commands."""

    def __init__(
        self,
        records: PurgeRecords,
        send: Send,
        *,
        topics: Topics,
        clock: Callable[[], datetime],
        ce_source: str,
        timeout: float,
    ) -> None:
        self._records = records
        self._send = send
        self._topic = topics.jobs.name
        self._clock = clock
        self._ce_source = ce_source
        self._timeout = timeout

    async def ask(
        self, pet_id: str, *, who: str, why: str, purge_id: str | None = None, is_new: bool = False
    ) -> PurgeRow:
        """Ask for a purge of all that was accepted up to now; returns it once the broker has the command.

        With the `purge_id` of a purge that is known already nothing is asked for, and that one is returned. Postgres is
        asked for it, and raises its errors while it is away; without `purge_id`, or with one that `is_new` and that
        nobody can know, nobody needs it.
        """
        if purge_id is not None and not is_new and (known := await self.find(pet_id, purge_id)) is not None:
            return known
        await self._send(())  # a connection may take long; the purge's moment is taken behind it
        purge = PurgePet(
            pet_id=pet_id,
            purge_id=purge_id or make_purge_id(),
            accepted_at=timestamp(self._clock()),
            who=who,
            why=why,
        )
        await self._send([self._message(purge)])
        return _pending(purge)

    async def find(self, pet_id: str, purge_id: str) -> PurgeRow | None:
        """A purge of the pet, None when none of this id is known (yet)."""
        async with asyncio.timeout(self._timeout):
            return await self._records.find(pet_id, purge_id)

    def _message(self, purge: PurgePet) -> Message:
        headers = build_headers(
            event_id=purge.id, event_type=PURGE_PET_TYPE, source=self._ce_source, time=purge.accepted_at
        )
        return Message(self._topic, purge.pet_id.encode(), msgspec.json.encode(purge), headers)


def _pending(purge: PurgePet) -> PurgeRow:
    return PurgeRow(
        pet_id=purge.pet_id,
        purge_id=purge.purge_id,
        status="pending",
        accepted_until=purge.accepted_at,
        who=purge.who,
        why=purge.why,
    )
