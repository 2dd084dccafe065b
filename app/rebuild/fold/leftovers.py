"""Rows in the changelog of tables that are built which a run has published and not written to its own rows: taken back
before it is folded on. Used by `build.py`.

A run that was killed in between, or whose folder is lost, has left them. Folding the same events again makes the same
rows, unless a purge has destroyed their key meanwhile: then the events are ignored, and nothing would delete the rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from aiokafka import TopicPartition

from app.rebuild.fold.live_tables import pet_of
from projections.fold_state import FoldState
from projections.log_reading import log_end, read
from tables.rows import decode_head, head_key, is_head

_CHECKED: Final = b"\xff/checked"
_NO_PETS: Final = (b"", b"\xff")
"""What stands before the slash in the partition's row, and in our own."""


async def take_back(consumer: Any, producer: Any, changelog: TopicPartition, state: FoldState) -> None:
    """Have the changelog hold what `state` holds, where something was published behind what `state` knows of."""
    end = await log_end(consumer, changelog)
    async for records, _ in read(consumer, changelog, int(state.get(_CHECKED, b"0")), end):
        other = {record.key for record in records if (record.value is None) == (record.key in state)}
        await publish(producer, changelog, [(key, state.get(key)) for key in other])
    state.update(checked(end))


async def take_back_unfinished(producer: Any, changelog: TopicPartition, state: FoldState) -> None:
    """Of rows that were just read from the changelog, drop those of events that no head holds."""
    unfinished = list(_unfinished(state))
    await publish(producer, changelog, [(key, None) for key in unfinished])
    for key in unfinished:
        del state[key]


def checked(end: int) -> Mapping[bytes, bytes]:
    """A row for the state: what stands in the changelog before `end` stands there, too."""
    return {_CHECKED: str(end).encode()}


async def publish(
    producer: Any, changelog: TopicPartition, records: Iterable[tuple[bytes, bytes | None]]
) -> int | None:
    """Send records in this order, and wait; the offset behind the last, None when there was none."""
    sent = [
        await producer.send(changelog.topic, value, key=key, partition=changelog.partition) for key, value in records
    ]
    return max((told.offset + 1 for told in await asyncio.gather(*sent)), default=None)


def _unfinished(state: FoldState) -> Iterator[bytes]:
    last: dict[bytes, int] = {}
    for key in state:
        pet = pet_of(key)
        if pet in _NO_PETS or is_head(key):
            continue
        if pet not in last:  # a pet's rows stand together
            head = state.get(head_key(pet.decode()))
            last = {pet: -1 if head is None else decode_head(head).state.last_offset}
        if int(key.rpartition(b"/")[2]) > last[pet]:
            yield key
