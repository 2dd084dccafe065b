"""The shadow takes the live tables' place, in one transaction; and back.

Readers see the old rows or the new ones, never neither: they wait for the moment in which the tables change schemas.
The projector waits for its positions, so that nothing is written to the old tables behind the last catch-up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import asyncpg
from aiokafka import TopicPartition

from projections.decisions import record_decision
from projections.erasure import erase_versions
from projections.log_reading import read
from projections.positions import ROWS
from projections.postgres import Gap, apply_version
from projections.queries import load
from projections.shadow import runs, schema
from projections.shadow.catch_up import CatchUp
from projections.shadow.runs import Run
from schemas.codec import decode_message
from schemas.decisions import DecisionSettled
from schemas.errors import DeadLetter, StopProcess
from schemas.versions import PetErased

LOCK_TIMEOUT: Final = "5s"
"""How long the swap waits for the live tables, and readers for it; a longer reader is waited for once more."""
LOCK_TRIES: Final = 5
LOCK_PAUSE_SECONDS: Final = 2.0

Held = Callable[[int], None]


async def swap(
    connection: Any,
    run: Run,
    catch_ups: Sequence[CatchUp],
    consumer: Any,
    versions_topic: str,
    sent_before: Mapping[int, int],
    held: Held,
) -> int:
    """Bring the shadow to the log's end while nobody writes, and put it in place; the live tables are kept.

    `sent_before`: partition → end of what an earlier generation of the fold has sent. Its versions may have other
    numbers than the shadow's: raises StopProcess while the projector could still apply one to the shadow. `held`: told
    how often a lock was waited for in vain.

    Returns the live generation from now on. Raises StopProcess when somebody holds the tables for too long; nothing has
    changed then.
    """
    shadow, kept = schema.shadow_name(run.generation), schema.kept_name(run.generation)
    async with connection.transaction():
        positions = await _lock_projector_out(connection, versions_topic, held)
        _check_read(positions, sent_before, versions_topic)
        for catch_up in catch_ups:
            await catch_up.follow(consumer, connection)
        await _pass_what_is_gone(connection, consumer, versions_topic, [each.mark.partition for each in catch_ups])
        await connection.execute(f"CREATE SCHEMA {kept}")
        await _lock_readers_out(connection, held)
        await schema.move(connection, schema.LIVE, kept)
        await schema.move(connection, shadow, schema.LIVE)
        await schema.drop(connection, shadow)
        await runs.note_state(connection, run.generation, "swapped", positions)
        return await begin_generation(connection)


def _check_read(positions: Mapping[int, int], sent_before: Mapping[int, int], topic: str) -> None:
    for partition, end in sent_before.items():
        if (position := positions.get(partition, 0)) < end:
            raise StopProcess(
                f"the projector stands at {topic}/{partition}/{position}, the generation of the fold before this one"
                f" has sent up to {end}: run the same again when it has read that"
            )


async def bring_kept_forward(connection: Any, run: Run, consumer: Any, versions_topic: str) -> Run:
    """Apply to the tables that the run has replaced what was sent since, batch by batch; the service goes on meanwhile.

    Returns the run with its positions moved. Raises StopProcess when the topic no longer has what is needed.
    """
    ends = {row["partition"]: row["next_offset"] for row in await connection.fetch(load("read_places"), versions_topic)}
    for partition, end in ends.items():
        tp = TopicPartition(versions_topic, partition)
        start = run.positions.get(partition, 0)
        if start < end and (await consumer.beginning_offsets([tp]))[tp] > start:
            raise StopProcess(f"{versions_topic}/{partition} no longer has offset {start}: rebuild instead")
        async for records, reached in read(consumer, tp, start, end):
            async with connection.transaction():
                await _apply_sent(connection, schema.kept_name(run.generation), records)
                run = replace(run, positions=run.positions | {partition: reached})
                await runs.note_state(connection, run.generation, "swapped", run.positions)
    return run


async def roll_back(connection: Any, run: Run, consumer: Any, versions_topic: str, held: Held) -> int:
    """Put what the run has replaced back in place, with the versions that were sent since; call `bring_kept_forward`
    before. Returns the live generation from now on. Raises as `swap`.
    """
    shadow, kept = schema.shadow_name(run.generation), schema.kept_name(run.generation)
    async with connection.transaction():
        await _lock_projector_out(connection, versions_topic, held)
        await bring_kept_forward(connection, run, consumer, versions_topic)
        await connection.execute(f"CREATE SCHEMA {shadow}")
        await _lock_readers_out(connection, held)
        await schema.move(connection, schema.LIVE, shadow)
        await schema.move(connection, kept, schema.LIVE)
        for name in (kept, shadow):
            await schema.drop(connection, name)
        await runs.note_state(connection, run.generation, "rolled_back")
        return await begin_generation(connection)


async def _lock_projector_out(connection: Any, versions_topic: str, held: Held) -> dict[int, int]:
    """Keep the projector from writing versions until the transaction ends. Partition → its next offset.

    It comes before the readers' lock, since the projector's transactions take these locks in this order.
    """
    await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    rows = await _patiently(lambda: connection.fetch(load("lock_positions"), versions_topic), connection, held)
    return {row["partition"]: row["next_offset"] for row in rows}


async def _lock_readers_out(connection: Any, held: Held) -> None:
    """Keep everybody from reading versions until the transaction ends; nothing but the tables' move is left to do."""
    tables = ", ".join(f"{schema.LIVE}.{table}" for table in schema.TABLES)
    await _patiently(lambda: connection.execute(f"LOCK TABLE {tables}"), connection, held)


async def _patiently(lock: Callable[[], Awaitable[Any]], connection: Any, held: Held) -> Any:
    """Take a lock that somebody may hold for long. What the transaction has done before stands: each try is a savepoint
    of its own.
    """
    for attempt in range(1, LOCK_TRIES + 1):
        try:
            async with connection.transaction():
                return await lock()
        except asyncpg.LockNotAvailableError:
            held(attempt)
            await asyncio.sleep(LOCK_PAUSE_SECONDS)
    raise StopProcess("the live tables were not free; run the same again")


async def _pass_what_is_gone(connection: Any, consumer: Any, versions_topic: str, partitions: Sequence[int]) -> None:
    """Move the projector on to where the topic begins now: the shadow holds all that was sent before."""
    begins = await consumer.beginning_offsets([TopicPartition(versions_topic, number) for number in partitions])
    await connection.executemany(
        load("raise_position"), [(ROWS, tp.topic, tp.partition, offset) for tp, offset in begins.items()]
    )


async def begin_generation(connection: Any) -> int:
    """Give the live rows the next number, inside the transaction that changes them: caches keep the answer of the
    higher one.
    """
    generation: int = await connection.fetchval(load("next_generation"))
    await connection.execute(load("set_live_generation"), generation)
    return generation


async def _apply_sent(connection: Any, target: str, records: Sequence[Any]) -> None:
    await connection.execute(f"SET LOCAL search_path TO {target}, {schema.LIVE}")
    for record in records:
        try:
            version = decode_message(record.value)
        except DeadLetter:
            continue  # as the projector did
        if isinstance(version, PetErased):
            await erase_versions(connection, version)
        elif isinstance(version, DecisionSettled):
            await record_decision(connection, version)
        elif isinstance(outcome := await apply_version(connection, version), Gap):
            raise StopProcess(
                f"{version.pet_id}: version {version.version} does not follow version {outcome.last}: rebuild instead"
            )
    await connection.execute(f"SET LOCAL search_path TO {schema.LIVE}")
