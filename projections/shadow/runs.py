"""What a rebuild has done so far, as rows: for going on after a kill, for progress bars, for `--rollback`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from projections.queries import load
from schemas.errors import StopProcess

RunState = Literal["building", "built", "swapped", "rolled_back", "given_up"]

LOCK: Final = 0x6D636C72
"""Advisory lock of the one rebuild that may run ("mclr")."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a partition is. `copied`: its history stands in the shadow up to `next_offset`, in full."""

    partition: int
    copied: bool = False
    next_offset: int = 0
    end_offset: int = 0
    events: int = 0
    versions: int = 0
    images: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """A rebuild. `positions`: the live projector's next offsets of the version topic when it was swapped."""

    generation: int
    state: RunState
    code: str
    marks: dict[int, Mark] = field(default_factory=dict)
    positions: dict[int, int] = field(default_factory=dict)


async def take_turn(connection: Any) -> bool:
    """Whether no other rebuild runs; the lock is held until the connection ends."""
    return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK))


async def take_partition(connection: Any, partition: int) -> None:
    """Wait until nobody else copies the partition; held until the connection ends."""
    await connection.execute("SELECT pg_advisory_lock($1, $2)", LOCK, partition)


async def copied_mark(connection: Any, generation: int, partition: int) -> Mark | None:
    """The partition's mark when it is copied."""
    marks = [Mark(*row) for row in await connection.fetch(load("read_rebuild_marks"), generation)]
    return next((mark for mark in marks if mark.partition == partition and mark.copied), None)


async def begin(connection: Any, release: str) -> Run:
    """The run that was not finished, else a new one with the next generation.

    Raises StopProcess when another release, or another state of the schema, has begun it.
    """
    code = await _code(connection, release)
    unfinished = await last(connection, ("building", "built"))
    if unfinished is not None:
        _check(unfinished, code)
        return unfinished
    generation = await connection.fetchval(load("insert_rebuild_run"), code)
    return Run(generation, "building", code)


async def check_code(connection: Any, run: Run, release: str) -> None:
    """Raises StopProcess when the run is another release's, or the schema has been migrated since."""
    _check(run, await _code(connection, release))


async def _code(connection: Any, release: str) -> str:
    revision = await connection.fetchval("SELECT version_num FROM alembic_version")
    return f"{release}, schema {revision}"


def _check(run: Run, code: str) -> None:
    if run.code != code:
        raise StopProcess(
            f"generation {run.generation} was built by {run.code}, this is {code}: its tables may not fit."
            " Give it up (`rebuild --give-up`) and build anew"
        )


async def last(connection: Any, states: tuple[RunState, ...]) -> Run | None:
    """The newest run in one of the states."""
    row = await connection.fetchrow(load("read_rebuild_run"), list(states))
    if row is None:
        return None
    marks = [Mark(*mark) for mark in await connection.fetch(load("read_rebuild_marks"), row["generation"])]
    positions = {int(number): offset for number, offset in msgspec.json.decode(row["positions"]).items()}
    return Run(row["generation"], row["state"], row["code"], {mark.partition: mark for mark in marks}, positions)


async def mark(connection: Any, generation: int, mark: Mark) -> None:
    """Note how far a partition is."""
    await connection.execute(
        load("upsert_rebuild_mark"),
        generation,
        mark.partition,
        mark.copied,
        mark.next_offset,
        mark.end_offset,
        mark.events,
        mark.versions,
        mark.images,
    )


async def note_state(
    connection: Any, generation: int, state: RunState, positions: dict[int, int] | None = None
) -> None:
    """Note how the run stands."""
    told = None if positions is None else msgspec.json.encode({str(k): v for k, v in positions.items()}).decode()
    await connection.execute(load("update_rebuild_run"), generation, state, told)
