"""Up to where each partition of `media.jobs` is settled: nothing that its commands caused is still on its way.

Used by `projections.sweeper`. A pet has one partition number on all topics, so a partition is settled by itself:

    1  embed has committed X on media.jobs               what the commands below X caused stands in the topics
    2  where do the log and the retry tiers end?         E, R: all of it lies below
    3  the fold has committed E, the pump R              their ends stand in the states, their next tries in media.jobs
    4  where do media.jobs and the states end?           J, S: all of that lies below
    5  the projector's rows have reached J and S         every end and every next try is in the tables: X is settled

The order is what makes it sound: each end is read after the position that it stands for. Steps that do not hold yet
are asked again at the next round, against the ends that were read then, so that a busy service settles, too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aiokafka import TopicPartition

from projections.positions import ROWS
from projections.queries import load
from schemas.topics import Topics

Offsets = Mapping[TopicPartition, int]


class Broker(Protocol):
    """What is asked of `projections.offsets.LogOffsets`."""

    async def partitions(self, topic: str) -> list[int]:
        """The partition numbers of a topic."""
        ...

    async def committed(self, group: str, asked: Collection[TopicPartition]) -> Offsets:
        """The group's next offsets."""
        ...

    async def ends(self, asked: Collection[TopicPartition]) -> Offsets:
        """The partitions' next offsets."""
        ...


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Names of the consumer groups that a command passes through. The fold's changes with its generation."""

    embed: str
    fold: Callable[[], Awaitable[str]]
    retry: str


@dataclass
class _Checkpoint:
    """X of the picture, with E and R, and J and S as soon as they are asked for."""

    settles: int
    produced: Offsets
    projected: Offsets | None = None


class Frontier:
    """Keeps what was read in earlier rounds. Each process has its own; every one of them is right by itself."""

    def __init__(self, topics: Topics, groups: Groups) -> None:
        self._jobs = topics.jobs.name
        self._log = topics.pet_log.name
        self._retries = [topic.name for topic in topics.retries]
        self._status = topics.jobs_status.name
        self._groups = groups
        self._open: dict[int, _Checkpoint] = {}
        self._settled: dict[int, int] = {}

    async def advance(self, broker: Broker, connection: Any) -> dict[int, int]:
        """One round. Returns for each partition the offset of `media.jobs` below which all is settled."""
        numbers = await broker.partitions(self._jobs)
        await self._begin(broker, [number for number in numbers if number not in self._open])
        await self._see_read(broker)
        await self._see_projected(connection)
        return dict(self._settled)

    async def _begin(self, broker: Broker, numbers: Collection[int]) -> None:
        """Steps 1 and 2."""
        embedded = await broker.committed(self._groups.embed, _across([self._jobs], numbers))
        produced = await broker.ends(_across([self._log, *self._retries], numbers))
        for tp, settles in embedded.items():
            self._open[tp.partition] = _Checkpoint(settles, _of(produced, tp.partition))

    async def _see_read(self, broker: Broker) -> None:
        """Steps 3 and 4."""
        waiting = [number for number, checkpoint in self._open.items() if checkpoint.projected is None]
        read = {
            **await broker.committed(await self._groups.fold(), _across([self._log], waiting)),
            **await broker.committed(self._groups.retry, _across(self._retries, waiting)),
        }
        passed = [number for number in waiting if _reached(read, self._open[number].produced)]
        ends = await broker.ends(_across([self._jobs, self._status], passed))
        for number in passed:
            self._open[number].projected = _of(ends, number)

    async def _see_projected(self, connection: Any) -> None:
        """Step 5."""
        rows = await connection.fetch(load("read_positions"), ROWS)
        positions = {TopicPartition(row["topic"], row["partition"]): row["next_offset"] for row in rows}
        for number, checkpoint in list(self._open.items()):
            if checkpoint.projected is not None and _reached(positions, checkpoint.projected):
                self._settled[number] = checkpoint.settles
                del self._open[number]


def _across(topics: Collection[str], numbers: Collection[int]) -> list[TopicPartition]:
    return [TopicPartition(topic, number) for topic in topics for number in numbers]


def _of(offsets: Offsets, number: int) -> Offsets:
    return {tp: offset for tp, offset in offsets.items() if tp.partition == number}


def _reached(positions: Offsets, goals: Offsets) -> bool:
    return all(positions.get(tp, 0) >= goal for tp, goal in goals.items())
