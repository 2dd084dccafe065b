"""Where a projection stands in each partition, stored beside its rows. Called by `projections.runner`, and by
`projections.similar` for its own.

Two positions a partition: up to `written`, all records are in the rows, in the very transaction that wrote them; up to
`cached`, all pets of a version were brought to the cache, too. Between the two, a restart only refreshes the cache:
after a crash, and after a time in which the cache was not kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import TopicPartition

from projections.queries import load

ROWS: Final = "postgres"
CACHE: Final = "redis"


@dataclass(slots=True)
class Position:
    """Next offsets of one partition. `seen`: up to here this process has brought the pets to the cache, or remembers
    them as stale.
    """

    written: int
    cached: int
    seen: int = 0

    def __post_init__(self) -> None:
        self.seen = self.resume

    @property
    def resume(self) -> int:
        """Where to read on from after a restart."""
        return min(self.written, self.cached)


async def load_positions(
    connection: Any, partitions: Collection[TopicPartition], cached_topic: str
) -> dict[TopicPartition, Position]:
    """The stored positions, 0 where nothing was stored; only `cached_topic` has one of the cache, if any."""
    arguments = [(ROWS, tp.topic, tp.partition) for tp in partitions]
    await connection.executemany(load("insert_position"), arguments)
    written = await stored_positions(connection, ROWS)
    cached = await stored_positions(connection, CACHE)
    return {
        tp: Position(written[tp], cached.get(tp, 0) if tp.topic == cached_topic else written[tp]) for tp in partitions
    }


async def advance(connection: Any, tp: TopicPartition, expected: int, next_offset: int, projection: str = ROWS) -> bool:
    """Move the rows' position forward; False when it does not stand at `expected`: another writer owns the partition.

    Locks the position's row until the transaction ends, so that two writers of a partition take turns.
    """
    status = await connection.execute(
        load("advance_position"), projection, tp.topic, tp.partition, expected, next_offset
    )
    return bool(status == "UPDATE 1")


async def store_cached(connection: Any, offsets: Mapping[TopicPartition, int]) -> None:
    """Store how far the cache is up to date."""
    arguments = [(CACHE, tp.topic, tp.partition, offset) for tp, offset in sorted(offsets.items())]
    await connection.executemany(load("raise_position"), arguments)


async def stored_positions(connection: Any, projection: str) -> dict[TopicPartition, int]:
    """The next offsets of one projection, of the partitions that it has read."""
    rows = await connection.fetch(load("read_positions"), projection)
    return {TopicPartition(row["topic"], row["partition"]): row["next_offset"] for row in rows}
