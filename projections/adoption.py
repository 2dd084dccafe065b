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
    connection: Any, ends: Mapping[TopicPartition, int], emptied: Collection[str]
) -> Sequence[tuple[TopicPartition, int, int]]:
    """Move every position into what is there: to the end of its partition at most, and to the beginning of the topics
    `emptied`, whose records the fold sends again. Returns what was moved: partition, from, to.
    """
    moved = []
    for row in await connection.fetch(load("lock_all_positions")):
        tp = TopicPartition(row["topic"], row["partition"])
        fits = 0 if tp.topic in emptied else min(row["next_offset"], ends.get(tp, row["next_offset"]))
        if fits != row["next_offset"]:
            await connection.execute(load("set_position"), row["projection"], tp.topic, tp.partition, fits)
            moved.append((tp, row["next_offset"], fits))
    return moved
