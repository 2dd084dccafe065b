"""The pet table of one partition as a new worker would recover it from its changelog. Used by `partition`.

The rules are the durable table's (`apply_changelog_batch` in agents/durable_table.py): the last record of a key stands,
a tombstone deletes, a head never goes back.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Final

import msgspec

from tables.rows import PARTITION_KEY, decode_head, decode_partition, is_head

UNREADABLE: Final = -2
"""Stands for the offset of a head that cannot be decoded."""


class TableCopy:
    """The rows, and for each pet how far its head has come. About 100 bytes of memory a pet.

    `reached`: pet → log offset that its head has folded last; the partition's own row stands under its key.
    """

    def __init__(self, rows: MutableMapping[bytes, bytes]) -> None:
        self.rows = rows
        self.reached: dict[str, int] = {}

    def apply(self, key: bytes, value: bytes | None) -> None:
        """Take the next record of the changelog."""
        if value is None:
            self.rows.pop(key, None)
            self.reached.pop(pet_of(key), None) if is_head(key) else None
            return
        if is_head(key) or key == PARTITION_KEY:
            offset, pet_id = _reached(key, value), pet_of(key)
            if is_head(key) and UNREADABLE < offset < self.reached.get(pet_id, UNREADABLE):
                return
            self.reached[pet_id] = offset
        self.rows[key] = value


def pet_of(key: bytes) -> str:
    """The pet of a row's key; the partition's own row is its own."""
    name = key.decode(errors="replace")
    return name if key == PARTITION_KEY else name.partition("/")[0]


def _reached(key: bytes, value: bytes) -> int:
    try:
        if key == PARTITION_KEY:
            facts = decode_partition(value).facts
            return facts[-1].offset if facts else UNREADABLE
        return decode_head(value).state.last_offset
    except (msgspec.DecodeError, UnicodeDecodeError):
        return UNREADABLE
