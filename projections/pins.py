"""Pins: versions that retention keeps whatever their age. Called by the command `pins` of `app`.

A pin is an operator's word, not part of the projection: no rebuild makes it again, and none may drop it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from projections.queries import load
from schemas.bounds import MAX_TEXT, check_text
from schemas.errors import InvalidInput
from schemas.ids import check_id

MAX_WHO: Final = 200


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """A pinned version. `present`: whether the tables have it, or it was trimmed before it was pinned."""

    pet_id: str
    version: int
    who: str
    why: str
    pinned_at: datetime
    present: bool


async def add_pin(pool: Any, pet_id: str, version: int, *, who: str, why: str) -> Pin:
    """Keep this version from now on; a repeat changes nothing. Waits for a batch of retention that is under way.

    A trimmed version may be pinned, too: retention then leaves it alone when a rebuild has brought it back.
    Raises InvalidInput naming what is wrong: a pet or a version that never was, or an empty `why`.
    """
    check_id(pet_id, "pet_id")
    check_text(who, "who", MAX_WHO)
    if not check_text(why, "why", MAX_TEXT).strip():
        raise InvalidInput("why", "is needed: it is kept with the pin")
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(load("lock_pins"))
        last, purged = await connection.fetchrow(load("read_numbers_taken"), pet_id)
        if not purged < version <= last:
            must = f"must be {purged + 1} to {last}, got {version}"
            raise InvalidInput("version", must if last > purged else f"{pet_id} has none")
        await connection.execute(load("insert_pin"), pet_id, version, who, why)
        pins = await list_pins(connection, pet_id)
        return next(pin for pin in pins if pin.version == version)


async def remove_pin(pool: Any, pet_id: str, version: int) -> bool:
    """Leave a version to retention again; False when it was not pinned."""
    return bool(await pool.execute(load("delete_pin"), pet_id, version) == "DELETE 1")


async def list_pins(connection: Any, pet_id: str | None = None) -> list[Pin]:
    """All pins, or those of a pet, in order."""
    return [Pin(**dict(row)) for row in await connection.fetch(load("list_pins"), pet_id)]
