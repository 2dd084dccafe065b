"""Postgres goes on with a Kafka that was restored: `log adopt`. Run by `run.py` while no role runs.

The database must not know more than the log: a pet's next version would bear a number that it has already, and would
be passed over. So it is refused until a rebuild has taken the surplus away.
"""

from __future__ import annotations

from typing import Any

import asyncpg
from aiokafka import TopicPartition

from app.backup.place import Place
from app.progress import Display
from projections.adoption import LastFact, ahead_of, fit_positions, last_facts
from projections.kafka_cluster import cluster_id, known, note
from projections.log_reading import read
from projections.offsets import LogOffsets
from projections.positions import ROWS
from projections.queries import load
from projections.shadow import schema
from projections.urls import driver_url
from schemas.errors import StopProcess
from schemas.headers import header, parse_timestamp

AGAIN = "`python -m app rebuild`, `python -m app rebuild --swap`, then this again"


async def adopt(place: Place, display: Display) -> None:
    """Fit the positions, and note the Kafka. Raises StopProcess when Postgres holds what the log does not."""
    async with LogOffsets(place.brokers) as broker:
        partitions = [tp for topic in place.topics.all() for tp in place.partitions(topic)]
        ends = await broker.ends(partitions)
    cluster = await cluster_id(place.brokers)
    connection = await asyncpg.connect(driver_url(place.settings.database_url.get_secret_value()))
    try:
        restored = await known(connection) != cluster
        if restored:
            await _retire_rebuilds(connection, display)
        await _check_not_ahead(place, connection, ends)
        refilled = {topic.name for topic in place.topics.folded_again()}
        async with connection.transaction():
            moved = await fit_positions(connection, ends, refilled, anew=restored)
            await note(connection, cluster)
    finally:
        await connection.close()
    for tp, before, after in moved:
        display.say("moved", topic=tp.topic, partition=tp.partition, before=before, after=after)
    display.say("adopted", cluster=cluster, positions_moved=len(moved))


async def must_adopt(place: Place, display: Display) -> None:
    """Let no projector go on by itself with topics of its own Kafka that were made anew.

    A database of another Kafka, or of other topics, is left alone: the import may be a rehearsal. Raises Postgres's
    errors while it is away.
    """
    cluster = await cluster_id(place.brokers)
    connection = await asyncpg.connect(driver_url(place.settings.database_url.get_secret_value()))
    try:
        if not await connection.fetchval("SELECT to_regclass('rebuild_runs') IS NOT NULL"):
            return
        topics = {row["topic"] for row in await connection.fetch(load("read_positions"), ROWS)}
        if place.topics.pet_versions.name in topics and await known(connection) == cluster:
            await note(connection, "")
            await _retire_rebuilds(connection, display)
    finally:
        await connection.close()


async def _retire_rebuilds(connection: Any, display: Display) -> None:
    """They name offsets of the Kafka that was lost: none is gone on with, and none rolled back."""
    for row in await connection.fetch(load("retire_rebuilds")):
        await schema.drop(connection, schema.shadow_name(row["generation"]))
        if await schema.exists(connection, kept := schema.kept_name(row["generation"])):
            display.say("no longer for a rollback", schema=kept)


async def _check_not_ahead(place: Place, connection: Any, ends: dict[TopicPartition, int]) -> None:
    topic = place.topics.pet_log.name
    ahead = await ahead_of(connection, {tp.partition: end for tp, end in ends.items() if tp.topic == topic})
    if ahead.versions:
        raise StopProcess(
            f"Postgres has {ahead.versions} versions of {ahead.pets} pets whose facts the log no longer has: {AGAIN}"
        )
    async with place.reading() as consumer:
        for last in await last_facts(connection):
            if not await _has(consumer, TopicPartition(topic, last.partition), last):
                raise StopProcess(
                    f"Postgres and {topic}/{last.partition} have different facts at offset {last.offset}: {AGAIN}"
                )


async def _has(consumer: Any, tp: TopicPartition, last: LastFact) -> bool:
    """Whether the log has this very fact."""
    async for (record, *_), _ in read(consumer, tp, last.offset, last.offset + 1):
        same_pet = (record.key or b"") == last.pet_id.encode()
        return same_pet and parse_timestamp(header(record.headers, "ce_time")) == last.time
    return False
