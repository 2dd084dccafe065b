"""`rebuild --dry-run`: what would be read and written, and how long it takes, by folding a sample. Writes nothing."""

from __future__ import annotations

import time
from typing import Any, Final

import asyncpg
from aiokafka import TopicPartition

from agents.pet_keys import open_pet_keys
from app.rebuild.place import Place
from app.rebuild.progress import Display
from projections.bulk_rows import BulkRows
from projections.queries import load
from projections.shadow import schema
from projections.shadow.reading import log_consumer, log_end, read_facts
from projections.urls import driver_url
from schemas.errors import StopProcess
from schemas.pet_keys import KeyReader
from schemas.versions import PetVersion
from tables.replay import LogReplay

SAMPLE_EVENTS: Final = 2_000


async def estimate(place: Place, display: Display) -> None:
    """Say it."""
    topic = place.topics.pet_log.name
    consumer = log_consumer(place.bootstrap_servers, topic)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        if not partitions:
            raise StopProcess(f"the log {topic} is not there")
        consumer.unsubscribe()
        ends = {tp: await log_end(consumer, tp) for tp in partitions}
        largest = max(partitions, key=ends.__getitem__)
        async with open_pet_keys(place.bootstrap_servers, place.topics.pet_keys.name) as keys:
            events, seconds, size = await _sample(consumer, largest, min(ends[largest], SAMPLE_EVENTS), keys)
    finally:
        await consumer.stop()
    total = sum(ends.values())
    share = total / events if events else 0.0
    display.say("would read", partitions=len(partitions), events=total, megabytes=round(size * share / 1e6, 1))
    for table, rows in await _rows(place.database_url):
        display.say("would write", table=table, rows_about=rows)
    workers = min(place.processes, len(partitions))
    display.say(
        "would take",
        seconds_about=round(seconds * share / workers, 1),
        processes=workers,
        measured_events_per_second=round(events / seconds) if seconds else 0,
        leaves_out="copying, indexes and comparing: as long again on a slow disk",
    )


async def _sample(consumer: Any, tp: TopicPartition, end: int, keys: KeyReader) -> tuple[int, float, int]:
    """Fold the partition's first events; (events, seconds, bytes)."""
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
    return events, time.perf_counter() - begun, size


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
