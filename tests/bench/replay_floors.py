"""What a rebuild cannot do without, each alone, on the same log and in as many processes: reading, folding, COPY.

Used by the benchmark `scale`. Reading and folding run in the very worker processes of a rebuild.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
from aiokafka import TopicPartition

from agents.pet_keys import open_pet_keys
from app.worker_processes import work_on_all
from projections.bulk_rows import COLUMNS
from projections.log_reading import log_consumer, log_end, read, read_facts
from projections.shadow import schema
from projections.shadow.runs import Mark
from tables.replay import LogReplay
from tests.e2e.service import Service

COPY_SCHEMA: Final = "bench_copy"


@dataclass(frozen=True)
class Part:
    """A partition of the log, for another process."""

    bootstrap_servers: str
    topic: str
    keys_topic: str
    number: int


def parts_of(service: Service, partitions: int) -> list[Part]:
    """All partitions."""
    topics = service.topics
    return [
        Part(service.bootstrap_servers, topics.pet_log.name, topics.pet_keys.name, number)
        for number in range(partitions)
    ]


async def read_alone(parts: Sequence[Part], processes: int) -> float:
    """Seconds until plain aiokafka consumers have read the log."""
    return await _spread(_read, parts, processes)


async def fold_alone(parts: Sequence[Part], processes: int) -> float:
    """Seconds of folding the log's records from memory, with everything that the fold makes of them but the I/O."""
    return await _spread(_fold, parts, processes)


async def _spread(
    work: Callable[[Part, Callable[[Mark], None]], Awaitable[float]], parts: Sequence[Part], processes: int
) -> float:
    """The time that the processes were at it, if all of them were so all the time."""
    done = await work_on_all(work, parts, processes, lambda mark: None)
    return sum(done) / processes


async def _read(part: Part, tell: Callable[[Mark], None]) -> float:
    tp = TopicPartition(part.topic, part.number)
    async with log_consumer(part.bootstrap_servers) as consumer:
        end = await log_end(consumer, tp)
        begun = time.perf_counter()
        async for _ in read(consumer, tp, 0, end):
            pass
        return time.perf_counter() - begun


async def _fold(part: Part, tell: Callable[[Mark], None]) -> float:
    tp = TopicPartition(part.topic, part.number)
    async with (
        open_pet_keys(part.bootstrap_servers, part.keys_topic) as keys,
        log_consumer(part.bootstrap_servers) as consumer,
    ):
        end = await log_end(consumer, tp)
        records = [record async for some, _ in read_facts(consumer, tp, 0, end, keys) for record in some]
        replay = LogReplay(part.number, keys=keys)
        begun = time.perf_counter()
        for record in records:
            replay.feed(record.offset, record.key, record.value)
        return time.perf_counter() - begun


async def copy_alone(database_url: str, processes: int, folder: Path) -> float:
    """Seconds until Postgres has taken the live tables' rows by COPY into bare tables, over as many connections."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        connections = [await asyncpg.connect(database_url, statement_cache_size=0) for _ in range(processes)]
        try:
            await asyncio.gather(*(_dump(each, Path(made), n, processes) for n, each in enumerate(connections)))
            await schema.create(connections[0], COPY_SCHEMA)
            begun = time.perf_counter()
            await asyncio.gather(*(_load(each, Path(made), n) for n, each in enumerate(connections)))
            seconds = time.perf_counter() - begun
            await schema.drop(connections[0], COPY_SCHEMA)
        finally:
            await asyncio.gather(*(each.close() for each in connections))
    return seconds


async def _dump(connection: Any, folder: Path, share: int, shares: int) -> None:
    for table, columns in COLUMNS.items():
        of_share = f"abs(hashtext(pet_id)::bigint) % {shares} = {share}"
        query = f"SELECT {', '.join(columns)} FROM {schema.LIVE}.{table} WHERE {of_share}"
        await connection.copy_from_query(query, output=folder / f"{table}-{share}", format="binary", timeout=600)


async def _load(connection: Any, folder: Path, share: int) -> None:
    async with connection.transaction():
        for table, columns in COLUMNS.items():
            await connection.copy_to_table(
                table,
                schema_name=COPY_SCHEMA,
                source=folder / f"{table}-{share}",
                columns=columns,
                format="binary",
                timeout=600,
            )
