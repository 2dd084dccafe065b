"""`rebuild --dry-run`: what would be read and written, and how long it takes, by folding a sample. Writes nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from aiokafka import TopicPartition

from agents.pet_keys import open_pet_keys
from app.progress import Display
from app.rebuild.place import Place
from projections.bulk_rows import BulkRows
from projections.log_reading import log_consumer, log_end, read_facts
from projections.queries import load
from projections.shadow import schema
from projections.urls import driver_url
from schemas.errors import StopProcess
from schemas.pet_keys import KeyReader
from schemas.topics import Topics
from schemas.versions import PetVersion
from tables.replay import LogReplay

SAMPLE_EVENTS: Final = 2_000


@dataclass(frozen=True, slots=True)
class _Measured:
    """The log, and its sample: `events` folded in `seconds`, `size` bytes, `rows` bytes of the fold's rows."""

    partitions: int
    total: int
    events: int
    seconds: float
    size: int
    rows: int

    @property
    def share(self) -> float:
        """How many samples the log has."""
        return self.total / self.events if self.events else 0.0


async def estimate(place: Place, display: Display) -> None:
    """Say it of the Postgres projection."""
    measured = await _measure(place.bootstrap_servers, place.topics)
    _say_read(measured, display)
    for table, rows in await _rows(place.database_url):
        display.say("would write", table=table, rows_about=rows)
    _say_time(measured, place.processes, display, "copying, indexes and comparing: as long again on a slow disk")


async def estimate_fold(bootstrap_servers: str, topics: Topics, processes: int, display: Display) -> None:
    """Say it of the fold's tables."""
    measured = await _measure(bootstrap_servers, topics)
    _say_read(measured, display)
    display.say("would write", changelog_megabytes_about=round(measured.rows * measured.share / 1e6, 1))
    _say_time(measured, processes, display, "publishing, and reading the live tables to compare: twice as long again")


def _say_read(measured: _Measured, display: Display) -> None:
    megabytes = round(measured.size * measured.share / 1e6, 1)
    display.say("would read", partitions=measured.partitions, events=measured.total, megabytes=megabytes)


def _say_time(measured: _Measured, processes: int, display: Display, leaves_out: str) -> None:
    workers = min(processes, measured.partitions)
    display.say(
        "would take",
        seconds_about=round(measured.seconds * measured.share / workers, 1),
        processes=workers,
        measured_events_per_second=round(measured.events / measured.seconds) if measured.seconds else 0,
        leaves_out=leaves_out,
    )


async def _measure(bootstrap_servers: str, topics: Topics) -> _Measured:
    topic = topics.pet_log.name
    consumer = log_consumer(bootstrap_servers, topic)
    try:
        await consumer.start()
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        if not partitions:
            raise StopProcess(f"the log {topic} is not there")
        consumer.unsubscribe()
        ends = {tp: await log_end(consumer, tp) for tp in partitions}
        largest = max(partitions, key=ends.__getitem__)
        async with open_pet_keys(bootstrap_servers, topics.pet_keys.name) as keys:
            sample = await _sample(consumer, largest, min(ends[largest], SAMPLE_EVENTS), keys)
    finally:
        await consumer.stop()
    return _Measured(len(partitions), sum(ends.values()), *sample)


async def _sample(consumer: Any, tp: TopicPartition, end: int, keys: KeyReader) -> tuple[int, float, int, int]:
    """Fold the partition's first events; (events, seconds, bytes, bytes of rows)."""
    replay, bulk = LogReplay(tp.partition, keys=keys), BulkRows()
    events, size, begun = 0, 0, time.perf_counter()
    async for records, _ in read_facts(consumer, tp, 0, end, keys):
        for record in records:
            change = replay.feed(record.offset, record.key, record.value)
            if isinstance(change, PetVersion):
                bulk.apply(change)
            elif change is not None:
                bulk.erase(change)
            size += len(record.value or b"")
        events += len(records)
    return events, time.perf_counter() - begun, size, sum(map(len, replay.rows.values()))


async def _rows(database_url: str) -> list[tuple[str, int]]:
    """Table → how many rows the live one has: as Postgres estimates it, counted where it has not looked yet."""
    connection = await asyncpg.connect(driver_url(database_url))
    try:
        found = []
        for table in schema.TABLES:
            name = f"{schema.LIVE}.{table}"
            rows = int(await connection.fetchval(load("estimate_rows"), name))
            found.append((table, rows if rows >= 0 else await connection.fetchval(f"SELECT count(*) FROM {name}")))
        return found
    finally:
        await connection.close()
