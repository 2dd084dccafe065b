"""The rows of a generation's tables, read from its changelog as a worker recovers them.

Used by `build.py` and `compare.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import TopicPartition

from projections.fold_state import FoldState
from projections.log_reading import log_end, read
from tables.rows import is_head, supersedes


async def take_changelog(
    consumer: Any,
    tp: TopicPartition,
    state: FoldState,
    start: int,
    offset_of: Callable[[int], int] = lambda reached: reached,
) -> set[bytes]:
    """Put the changelog's records from offset `start` to where it ends now into `state`; the names of the pets that
    they are about. `offset_of`: what the state's offset says with the changelog taken up to the argument.
    """
    pets: set[bytes] = set()
    async for records, reached in read(consumer, tp, start, await log_end(consumer, tp)):
        changes = _changes(state, records)
        state.write(changes, offset_of(reached))
        pets |= {pet_of(key) for key in changes}
    return pets


def _changes(state: FoldState, records: Sequence[Any]) -> dict[bytes, bytes | None]:
    """The last value of each key; a head never goes back, as `agents.durable_table` has it."""
    changes: dict[bytes, bytes | None] = {}
    for record in records:
        if is_head(record.key) and record.value is not None:
            old = changes[record.key] if record.key in changes else state.get(record.key)
            if old is not None and not supersedes(old, record.value):
                continue
        changes[record.key] = record.value
    return changes


def pet_of(key: bytes) -> bytes:
    """The pet that a row belongs to; empty for the partition's own row."""
    return key.partition(b"/")[0]
