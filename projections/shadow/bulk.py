"""One partition's whole history: folded from the log and copied into the shadow, in one transaction. A process each.

Killed in the middle, nothing of it is there; the next start begins this partition anew, and finds the others done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import asyncpg
from aiokafka import TopicPartition

from projections.bulk_rows import COLUMNS, BulkRows
from projections.fold_state import FoldState, forget
from projections.log_reading import log_consumer, log_end, read_facts
from projections.queries import load
from projections.replayed import feed
from projections.shadow import runs
from projections.shadow.runs import Mark
from projections.shadow.schema import LIVE
from schemas.decisions import DecisionSettled
from schemas.errors import InvalidInput, StopProcess
from schemas.pet_keys import KeyReader
from schemas.versions import PetErased, PetVersion
from tables.replay import LogReplay

COPY_ROWS: Final = 20_000
"""Rows that are gathered before they are sent."""


@dataclass(frozen=True, slots=True)
class BulkJob:
    """What a process needs to know; may be sent to another one."""

    database_url: str
    bootstrap_servers: str
    topic: str
    keys_topic: str
    partition: int
    generation: int
    schema: str
    state_folder: Path


async def copy_partition(job: BulkJob, keys: KeyReader, progress: Callable[[Mark], None] = lambda mark: None) -> Mark:
    """Fold the partition up to where it ends now and copy the rows; its mark is noted in the same transaction.

    Waits while a process that outlived its parent still copies it; what that one has copied stands. Raises
    UnknownVersion for a newer release's fact, StopProcess for a version that no column holds.
    """
    connection: Any = await asyncpg.connect(job.database_url, server_settings={"statement_timeout": "0"})
    try:
        await runs.take_partition(connection, job.partition)
        copied = await runs.copied_mark(connection, job.generation, job.partition)
        if copied is not None:
            progress(copied)
            return copied
        return await _copy(job, keys, connection, progress)
    finally:
        await connection.close()


async def _copy(job: BulkJob, keys: KeyReader, connection: Any, progress: Callable[[Mark], None]) -> Mark:
    forget(job.state_folder)
    state = FoldState(job.state_folder, durable=False)
    consumer = log_consumer(job.bootstrap_servers)
    try:
        await consumer.start()
        async with connection.transaction():
            mark = await _fold_and_copy(job, keys, consumer, connection, state, progress)
            await runs.mark(connection, job.generation, mark)
        state.offset = mark.next_offset
        progress(mark)
        return mark
    finally:
        await consumer.stop()
        state.close()


async def _fold_and_copy(
    job: BulkJob,
    keys: KeyReader,
    consumer: Any,
    connection: Any,
    state: FoldState,
    progress: Callable[[Mark], None],
) -> Mark:
    tp = TopicPartition(job.topic, job.partition)
    replay, bulk, sink = LogReplay(job.partition, rows=state, keys=keys), BulkRows(), _Copy(connection, job.schema)
    mark = Mark(job.partition, end_offset=await log_end(consumer, tp))
    async for records, reached in read_facts(consumer, tp, 0, mark.end_offset, keys):
        versions = images = 0
        for record in records:
            for change in feed(replay, record.offset, record.key, record.value):
                if isinstance(change, PetErased):
                    bulk.erase(change)
                else:
                    _apply(bulk, change)
                if isinstance(change, PetVersion):
                    versions += 1
                    images += len(change.members)
        await sink.add(bulk.take())
        mark = replace(
            mark,
            next_offset=reached,
            events=mark.events + len(records),
            versions=mark.versions + versions,
            images=mark.images + images,
        )
        progress(mark)
    await sink.finish(bulk)
    await _erase(connection, job.schema, bulk.erased)
    return replace(mark, copied=True, next_offset=mark.end_offset)


async def _erase(connection: Any, schema: str, erased: dict[str, int]) -> None:
    """Delete what was copied of pets before their purges: few, since what is sealed gives no rows any more."""
    await connection.execute(f"SET LOCAL search_path TO {schema}, {LIVE}")
    for pet_id, version in erased.items():
        await connection.execute(load("erase_versions"), pet_id, version)
    await connection.execute(f"SET LOCAL search_path TO {LIVE}")


def _apply(bulk: BulkRows, version: PetVersion | DecisionSettled) -> None:
    try:
        if isinstance(version, DecisionSettled):
            bulk.settle(version)
        else:
            bulk.apply(version)
    except InvalidInput as error:
        raise StopProcess(
            f"{version.pet_id}: version {version.version} cannot be written ({error}), and the live projector has"
            " dead-lettered it: a release that can write it must rebuild"
        ) from error


class _Copy:
    """Gathers rows and sends them by COPY, in the tables' order."""

    def __init__(self, connection: Any, schema: str) -> None:
        self._connection = connection
        self._schema = schema
        self._waiting: dict[str, list[Any]] = {table: [] for table in COLUMNS}

    async def add(self, rows: dict[str, list[Any]]) -> None:
        """Take rows; send them when there are many."""
        for table, each in rows.items():
            self._waiting[table] += each
        if sum(map(len, self._waiting.values())) >= COPY_ROWS:
            await self._send()

    async def finish(self, bulk: BulkRows) -> None:
        """Send the rest, and the rows that hold."""
        for table, row in bulk.holding():
            self._waiting[table].append(row)
        await self._send()

    async def _send(self) -> None:
        for table, rows in self._waiting.items():
            if rows:
                await self._connection.copy_records_to_table(
                    table, schema_name=self._schema, records=rows, columns=COLUMNS[table]
                )
                self._waiting[table] = []
