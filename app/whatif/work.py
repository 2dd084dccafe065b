"""Works on one partition in a process of its own. Called by `run.py` through `app.worker_processes`. Only reads."""

from __future__ import annotations

import bisect
import hashlib
import heapq
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition

from agents.pet_keys import open_pet_keys
from app.policy.overrides import Overrides
from app.settings import Settings
from app.whatif.comparison import Difference
from app.whatif.replay import TwoFolds
from projections.log_reading import log_consumer, log_end, need_beginning, read, read_facts
from projections.shadow.runs import Mark
from schemas.facts import Policy
from schemas.ids import pet_key

Told = Callable[[Mark], None]


@dataclass(frozen=True, slots=True)
class Task:
    """One partition. `folder`: for the folds' rows. `only`: these pets, all if None. `shown`: of how many pets, those
    that have changed most, each change is kept. May be sent to another process.
    """

    settings: Settings
    partition: int
    folder: Path
    overrides: Overrides = field(default_factory=Overrides)
    only: frozenset[str] | None = None
    shown: int = 0


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of it. `today`, `what_if`: the policies in force at the log's end."""

    today: Policy
    what_if: Policy
    events: int
    differences: list[Difference]


@dataclass(frozen=True, slots=True)
class Choice:
    """`sample` pets of a partition; which ones, depends on their ids alone."""

    task: Task
    sample: int


async def choose(choice: Choice, told: Told) -> list[tuple[bytes, str]]:
    """(digest, pet) of the pets of the partition with the lowest digests, as many as wanted; nothing is folded."""
    found: set[str] = set()
    async with _log(choice.task) as (consumer, tp):
        end, mark = await log_end(consumer, tp), Mark(choice.task.partition)
        async for records, reached in read(consumer, tp, 0, end):
            keys = {key for record in records if (key := pet_key(record.key)) is not None}
            found.update(key.decode() for key in keys)
            mark = _tell(told, mark, len(records), reached, end)
    return heapq.nsmallest(choice.sample, ((hashlib.sha256(pet.encode()).digest(), pet) for pet in found))


async def replay(task: Task, told: Told) -> Replayed:
    """Fold the partition twice, up to where its log ends now, and compare. Raises UnknownVersion for a newer release's
    fact, StopProcess for a log without its beginning or an engine that this release does not have.
    """
    settings = task.settings
    keys_topic = settings.topics().pet_keys.name
    async with (
        _log(task) as (consumer, tp),
        open_pet_keys(settings.kafka_bootstrap_servers, keys_topic, partition=task.partition) as keys,
    ):
        folds = TwoFolds(task.partition, task.overrides, task.folder, keys, task.only)
        try:
            end, mark = await log_end(consumer, tp), Mark(task.partition)
            async for records, reached in read_facts(consumer, tp, 0, end, keys):
                for record in records:
                    folds.feed(record.offset, record.key, record.value)
                mark = _tell(told, mark, len(records), reached, end)
            policies = folds.today.policy(end), folds.what_if.policy(end)
            return Replayed(*policies, folds.events, keep_changes(folds.differences(), task.shown))
        finally:
            folds.close()


def keep_changes(found: Iterable[Difference], number: int) -> list[Difference]:
    """The same, what has changed most first, of which only the first `number` keep each change."""
    most: list[Difference] = []
    rest: list[Difference] = []
    for each in found:
        bisect.insort(most, each, key=lambda one: one.rank)
        rest += [replace(one, changes=()) for one in most[number:]]
        del most[number:]
    return [*most, *sorted(rest, key=lambda one: one.rank)]


def _tell(told: Told, mark: Mark, events: int, reached: int, end: int) -> Mark:
    mark = replace(mark, events=mark.events + events, next_offset=reached, end_offset=end)
    told(mark)
    return mark


@asynccontextmanager
async def _log(task: Task) -> AsyncIterator[tuple[Any, TopicPartition]]:
    """A consumer in no group, which has the partition from its beginning."""
    settings = task.settings
    tp = TopicPartition(settings.topics().pet_log.name, task.partition)
    consumer = log_consumer(settings.kafka_bootstrap_servers, tp.topic)
    try:
        await consumer.start()
        consumer.unsubscribe()
        await need_beginning(consumer, tp)
        yield consumer, tp
    finally:
        await consumer.stop()
