"""Opaque cursors: where a page ended, as text that a caller hands back. Pure; used by the readers of this package."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from schemas.errors import InvalidInput

INT64_MAX: Final = 2**63 - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def pack(*parts: object) -> str:
    """A cursor of these parts, none of which holds a `/`."""
    return base64.urlsafe_b64encode("/".join(map(str, parts)).encode()).decode().rstrip("=")


def unpack(cursor: str, parts: int) -> list[str]:
    """The parts of a cursor. Raises InvalidInput for one that has another number of them, or is none."""
    try:
        unpacked = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().split("/")
    except (ValueError, binascii.Error) as error:
        raise foreign_cursor() from error
    if len(unpacked) != parts:
        raise foreign_cursor()
    return unpacked


def whole_number(text: str, least: int = 0) -> int:
    """A part that is a whole number of a bigint column. Raises InvalidInput."""
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and least <= int(text) <= INT64_MAX):
        raise foreign_cursor()
    return int(text)


def encode_cursor(enqueued_at: datetime, key: UUID) -> str:
    """The cursor of a row that has its place by time and key, e.g. a job's."""
    return pack((enqueued_at - _EPOCH) // timedelta(microseconds=1), key.hex)


def decode_cursor(cursor: str) -> tuple[datetime, UUID]:
    """Where such a cursor points. Raises InvalidInput for one that was not made here."""
    micros, key = unpack(cursor, 2)
    try:
        return _EPOCH + timedelta(microseconds=int(micros)), UUID(hex=key)
    except (ValueError, OverflowError) as error:
        raise foreign_cursor() from error


def foreign_cursor() -> InvalidInput:
    """The error of a cursor that was not made here, or for another question."""
    return InvalidInput("cursor", "is not one that this service gave out")
