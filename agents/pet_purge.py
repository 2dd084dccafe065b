"""Embed's part of a purge: it owns the pet's commands, so it knows which of them came before.

Commands of a pet behind its purge wait for it; those that were accepted before it are dropped, whenever they come. The
order of the calls of a purge:

    all commands before it are done → the mark is durable, what embed remembers of the pet is gone → the fact
    → the broker has it → the commands behind it go on

The mark stands in embed's table beside the images, under a key that no image can have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from schemas.commands import PurgePet
from schemas.facts import PetPurged
from schemas.headers import is_up_to

_MARK: Final = "{}//purge"


class PurgeMark(msgspec.Struct, frozen=True, array_like=True):
    """What purges of a pet have said: `accepted_until` of the latest, RFC 3339, and the keys that each retired."""

    accepted_until: str
    keys: dict[str, list[str]]

    def has_retired(self, key_id: str) -> bool:
        """Whether nothing may be sealed under the key any more."""
        return any(key_id in retired for retired in self.keys.values())


_decoder = msgspec.msgpack.Decoder(PurgeMark)


def mark_key(pet_id: str) -> bytes:
    """Key of the pet's mark in embed's table. Ids hold no ``/``."""
    return _MARK.format(pet_id).encode()


def mark_of(get: Callable[[bytes], bytes | None], pet_id: str) -> PurgeMark | None:
    """The pet's mark, None when it was never purged."""
    raw = get(mark_key(pet_id))
    return None if raw is None else _decoder.decode(raw)


def is_dropped(mark: PurgeMark | None, enqueued_at: str) -> bool:
    """Whether a command of a job enqueued then came before a purge."""
    return mark is not None and is_up_to(enqueued_at, mark.accepted_until)


def retire(mark: PurgeMark | None, command: PurgePet, keys: list[str]) -> PurgeMark:
    """The mark behind `command`. One that is repeated retires what it did at first, not what was made since."""
    before = mark or PurgeMark(command.accepted_at, {})
    if command.purge_id in before.keys:
        return before
    until = before.accepted_until if is_up_to(command.accepted_at, before.accepted_until) else command.accepted_at
    return PurgeMark(until, before.keys | {command.purge_id: [key for key in keys if not before.has_retired(key)]})


def encode_mark(mark: PurgeMark) -> bytes:
    """The bytes of a mark."""
    return msgspec.msgpack.encode(mark)


def purge_fact(mark: PurgeMark, command: PurgePet) -> PetPurged:
    """The fact that answers the command."""
    return PetPurged(
        purge_id=command.purge_id,
        accepted_until=command.accepted_at,
        keys=tuple(mark.keys[command.purge_id]),
        who=command.who,
        why=command.why,
    )


class Purging:
    """Purges that were read and are not done, so that the pet's later commands wait for them."""

    def __init__(self) -> None:
        self._last: dict[str, asyncio.Event] = {}

    def before(self, pet_id: str) -> asyncio.Event | None:
        """What a command of the pet that is read now waits for."""
        return self._last.get(pet_id)

    def begin(self, pet_id: str) -> asyncio.Event:
        """A purge is read; set the event when it is done."""
        self._last[pet_id] = done = asyncio.Event()
        return done

    def end(self, pet_id: str, done: asyncio.Event) -> None:
        """It is done, or left to another worker."""
        done.set()
        if self._last.get(pet_id) is done:
            del self._last[pet_id]
