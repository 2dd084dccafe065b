"""Which rows of the fold's table are of before a purge. Pure; used for its changelog and for its local state."""

from __future__ import annotations

from app.purges.finding import Purge
from schemas.errors import ServiceError
from tables.rows import decode_event_row, decode_head


def tells_of_before(key: bytes, value: bytes, purge: Purge) -> bool:
    """Whether a row of the pet should not be there any more. One that nobody knows, or can read, should not."""
    kind, _, offset = key.decode("utf-8", "replace").partition("/")[2].partition("/")
    try:
        if kind == "h" and not offset:
            return _head_is_of_before(value, purge.offset)
        number = int(offset)
        if kind == "p" or number > purge.offset:
            return kind not in ("p", "i", "d", "c")
        # The purge's own row has what it sent, and no component.
        return not (kind == "c" and number == purge.offset and not decode_event_row(value).components)
    except (ValueError, ServiceError):  # msgspec's errors are ValueErrors
        return True


def _head_is_of_before(value: bytes, offset: int) -> bool:
    """Whether a head refers to anything older than the purge: a purge empties it but for numbers."""
    state = decode_head(value).state
    if state.last_offset < offset:
        return True
    rows = [*(row for _, row in state.components), *state.segments, *state.tail.rows]
    return any(row < offset for row in rows)
