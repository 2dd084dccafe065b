"""Fits what Postgres remembers of a Kafka's offsets to a Kafka that was restored. Called by `app.backup.adopt`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiokafka import TopicPartition

from projections.queries import load


@dataclass(frozen=True, slots=True)
class Ahead:
    """Versions that follow from facts which the log no longer has."""

    versions: int
    pets: int


@dataclass(frozen=True, slots=True)
class LastFact:
    """Where the newest fact of a partition stands, of which Postgres has the version. `time`: the fact's own."""

    partition: int
    offset: int
    pet_id: str
    time: datetime


async def ahead_of(connection: Any, ends: Mapping[int, int]) -> Ahead:
    """What Postgres has beyond the ends of the log; partition → next offset."""
    row = await connection.fetchrow(load("count_versions_ahead"), list(ends), list(ends.values()))
    return Ahead(row["versions"], row["pets"])


async def last_facts(connection: Any) -> list[LastFact]:
    """The newest fact of each partition."""
    return [LastFact(*row) for row in await connection.fetch(load("list_last_facts"))]


async def fit_positions(
    connection: Any, ends: Mapping[TopicPartition, int], refilled: Collection[str], *, anew: bool
) -> Sequence[tuple[TopicPartition, int, int]]:
    """Move every position into what is there. Returns what was moved: partition, from, to.

    To the beginning of the topics `refilled`, whose records the fold sends again: of all that lie beyond an end, or of
    all at once when Kafka is `anew`. In other topics to the end of the partition at most. Records behind a position are
    passed over when they are read again, so one too low costs time and nothing else.
    """
    moved = []
    for row in await connection.fetch(load("lock_all_positions")):
        tp, position = TopicPartition(row["topic"], row["partition"]), row["next_offset"]
        end = ends.get(tp, position)
        again = tp.topic in refilled and (anew or position > end)
        fits = 0 if again else min(position, end)
        if fits != position:
            await connection.execute(load("set_position"), row["projection"], tp.topic, tp.partition, fits)
            moved.append((tp, position, fits))
    return moved
