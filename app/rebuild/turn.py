"""What a rebuild of Postgres begins with: the turn, and a consumer of the log. Used by `rebuild.py` and `pet.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from app.rebuild.place import Place
from projections.log_reading import log_consumer
from projections.shadow import runs
from projections.urls import driver_url
from schemas.errors import StopProcess


@asynccontextmanager
async def alone(place: Place) -> AsyncIterator[Any]:
    """A connection that holds the turn. Raises StopProcess while another rebuild does."""
    connection = await asyncpg.connect(driver_url(place.database_url), server_settings={"statement_timeout": "0"})
    try:
        if not await runs.take_turn(connection):
            raise StopProcess("another rebuild is under way")
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def log_partitions(place: Place) -> AsyncIterator[tuple[Any, list[int]]]:
    """A consumer that reads nothing yet, and the numbers of the log's partitions."""
    topic = place.topics.pet_log.name
    consumer = log_consumer(place.bootstrap_servers, topic)
    try:
        await consumer.start()
        found = consumer.partitions_for_topic(topic)
        if not found:
            raise StopProcess(f"the log {topic} is not there")
        consumer.unsubscribe()
        yield consumer, sorted(found)
    finally:
        await consumer.stop()
