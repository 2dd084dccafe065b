"""The shadow takes the live tables' place, in one transaction; and back.

Readers see the old rows or the new ones, never neither: they wait for the moment in which the tables change schemas.
The projector waits for its positions, so that nothing is written to the old tables behind the last catch-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from aiokafka import TopicPartition

from projections.postgres import apply_version
from projections.queries import load
from projections.shadow import runs, schema
from projections.shadow.catch_up import CatchUp
from projections.shadow.reading import read
from projections.shadow.runs import Run
from schemas.codec import decode_version
from schemas.errors import StopProcess

LOCK_TIMEOUT: Final = "5s"
"""How long the swap waits for the live tables, and readers for it; a longer reader makes it fail, to be repeated."""


async def swap(connection: Any, run: Run, catch_ups: Sequence[CatchUp], consumer: Any, versions_topic: str) -> None:
    """Bring the shadow to the log's end while nobody writes, and put it in place; the live tables are kept.

    Raises asyncpg.LockNotAvailableError when a reader holds them for too long; nothing has changed then.
    """
    shadow, kept = schema.shadow_name(run.generation), schema.kept_name(run.generation)
    async with connection.transaction():
        positions = await _hold_projector(connection, versions_topic)
        for catch_up in catch_ups:
            await catch_up.follow(consumer, connection)
        await connection.execute(f"CREATE SCHEMA {kept}")
        await _lock(connection)
        await schema.move(connection, schema.LIVE, kept)
        await schema.move(connection, shadow, schema.LIVE)
        await connection.execute(load("set_live_generation"), run.generation)
        await runs.note_state(connection, run.generation, "swapped", positions)
    await schema.drop(connection, shadow)


async def roll_back(connection: Any, run: Run, consumer: Any, versions_topic: str) -> int:
    """Put what the run has replaced back in place, with the versions that were sent since; how many those were.

    What takes its place is kept as the shadow of the run's number until it is dropped.
    """
    shadow, kept = schema.shadow_name(run.generation), schema.kept_name(run.generation)
    if not await schema.exists(connection, kept):
        raise StopProcess(f"generation {run.generation} has nothing to go back to: {kept} is gone")
    async with connection.transaction():
        positions = await _hold_projector(connection, versions_topic)
        applied = 0
        for partition, end in positions.items():
            start = run.positions.get(partition, 0)
            applied += await _apply_sent(
                connection, kept, consumer, TopicPartition(versions_topic, partition), start, end
            )
        await connection.execute(f"CREATE SCHEMA {shadow}")
        await _lock(connection)
        await schema.move(connection, schema.LIVE, shadow)
        await schema.move(connection, kept, schema.LIVE)
        # A number of its own, so that no cached answer of what was taken out stands over these.
        await connection.execute(load("set_live_generation"), await connection.fetchval(load("next_generation")))
        await runs.note_state(connection, run.generation, "rolled_back")
    for name in (kept, shadow):
        await schema.drop(connection, name)
    return applied


async def _hold_projector(connection: Any, versions_topic: str) -> dict[int, int]:
    """Keep the projector from writing versions until the transaction ends; partition → its next offset."""
    await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    rows = await connection.fetch(load("lock_positions"), versions_topic)
    return {row["partition"]: row["next_offset"] for row in rows}


async def _lock(connection: Any) -> None:
    await connection.execute(f"LOCK TABLE {', '.join(f'{schema.LIVE}.{table}' for table in schema.TABLES)}")


async def _apply_sent(connection: Any, target: str, consumer: Any, tp: TopicPartition, start: int, end: int) -> int:
    applied = 0
    async for records, _ in read(consumer, tp, start, end):
        await connection.execute(f"SET LOCAL search_path TO {target}, {schema.LIVE}")
        for record in records:
            await apply_version(connection, decode_version(record.value))
            applied += 1
        await connection.execute(f"SET LOCAL search_path TO {schema.LIVE}")
    return applied
