"""A pet's rows in the table's copy against those that the fold has just made, byte for byte. Used by `partition`.

Compared: the head's state; every row of images and of ids up to the head; every row of components that the head refers
to; that the rows are there which a repeat of the head's pending events would put again.

Not compared: the head's `Delivery`, which depends on what the broker had acknowledged when; rows of components that are
superseded, which nothing reads and whose tombstones may not be written yet; rows behind the head, which belong to an
event that is under way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from projections.fold_state import FoldState
from projections.verify.findings import NOTHING, Difference, first_difference, short
from tables import rows

_HEAD_START: Final = b"\x92"
"""How a head begins, an array of two; the bytes of its state follow."""


def pet_differences(pet_id: str, state: bytes, fold: FoldState, copy: FoldState) -> Iterator[Difference]:
    """What differs at the head's own offset. `fold`: folded up to just there, where the pet's state is `state`."""
    expected = rows.decode_state(state)
    for kind, decode in (("i", rows.decode_image_row), ("d", rows.decode_segment)):
        prefix = f"{pet_id}/{kind}/".encode()
        for key, value in fold.under(prefix):
            yield from _row(key, value, copy.get(key), decode)
        for key, value in copy.under(prefix):
            if offset_of(key) <= expected.last_offset and key not in fold:
                yield Difference(key.decode(errors="replace"), NOTHING, short(value), offset=offset_of(key))
    referred = {offset for _, offset in expected.components} | {expected.version_offset}
    for offset in sorted(referred - {-1}):
        key = rows.row_key(pet_id, "c", offset)
        yield from _row(key, fold[key], copy.get(key), rows.decode_event_row)
    yield from _head(pet_id, state, expected, copy)


def partition_differences(fold: FoldState, copy: FoldState) -> Iterator[Difference]:
    """The same for the partition's own row, of policies and models."""
    yield from _row(rows.PARTITION_KEY, fold[rows.PARTITION_KEY], copy.get(rows.PARTITION_KEY), rows.decode_partition)


def offset_of(key: bytes) -> int:
    """The log offset in a row's key; -1 where there is none."""
    last = key.rpartition(b"/")[2]
    return int(last) if last.isdigit() else -1


def _head(pet_id: str, state: bytes, expected: rows.PetState, copy: FoldState) -> Iterator[Difference]:
    key = rows.head_key(pet_id)
    raw = copy[key]
    try:
        head = rows.decode_head(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        yield Difference(
            f"{key.decode()} cannot be read", short(state), short(str(error)), expected.version, expected.last_offset
        )
        return
    if not raw.startswith(_HEAD_START + state):
        where = first_difference(expected, head.state) or ("", short(state), short(raw))
        yield Difference(f"{key.decode()} {where[0]}", *where[1:], expected.version, expected.last_offset)
    for event in head.delivery.pending:
        for kind in event.kinds:
            row = rows.row_key(pet_id, kind, event.offset)
            if row not in copy:
                yield Difference(f"{row.decode()}, of a pending event", "a row", NOTHING, offset=event.offset)


def _row(key: bytes, expected: bytes, found: bytes | None, decode: Callable[[bytes], Any]) -> Iterator[Difference]:
    if expected == found:
        return
    name, offset = key.decode(errors="replace"), offset_of(key)
    if found is None:
        yield Difference(name, short(expected), NOTHING, offset=offset)
        return
    try:
        where = first_difference(decode(expected), decode(found)) or ("", short(expected), short(found))
    except (msgspec.DecodeError, UnicodeDecodeError):
        where = ("(cannot be read)", short(expected), short(found))
    yield Difference(f"{name} {where[0]}".rstrip(), *where[1:], offset=offset)
