"""The order of a rebuild of the Postgres projection: copy, index, catch up, compare, swap. Run by `app.rebuild.run`.

Each step may be killed; the next start finds in `rebuild_runs` and `rebuild_partitions` what is done and goes on.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from agents.pet_keys import open_pet_keys
from app import VERSION
from app.partitions import log_partitions
from app.progress import Display, Tally
from app.rebuild.copying import copy_with_keys
from app.rebuild.place import Place
from app.rebuild.turn import alone
from app.worker_processes import work_on_all
from projections.queries import load
from projections.shadow import runs, schema
from projections.shadow.bulk import BulkJob
from projections.shadow.catch_up import CatchUp
from projections.shadow.compare import Comparison, compare
from projections.shadow.history import leave_out
from projections.shadow.runs import Run
from projections.shadow.snapshots import write_snapshots
from projections.shadow.swap import bring_kept_forward, roll_back, swap
from projections.urls import driver_url
from schemas.errors import StopProcess

NEAR_END: Final = 100
"""Events left of the log at which the swap begins; they are folded while the projector waits."""
PETS_AT_A_TIME: Final = 1_000


class Rebuild:
    """One rebuild; raises StopProcess when another one runs, or when going on makes no sense."""

    def __init__(self, place: Place, display: Display) -> None:
        self._place = place
        self._display = display
        self._partitions: list[int] = []

    async def build(self) -> Comparison:
        """Build the shadow, or go on with one that was begun, and compare it with the live rows. Swaps nothing."""
        async with alone(self._place) as connection, self._consumer() as consumer:
            run = await runs.begin(connection, VERSION)
            run = await self._copy(connection, run)
            async with self._followed(consumer, run) as following:
                await self._follow(connection, consumer, following)
            await runs.note_state(connection, run.generation, "built")
            return await self._compare(connection, run)

    async def swap(self) -> int:
        """Put a built shadow in place; returns its generation."""
        async with alone(self._place) as connection, self._consumer() as consumer:
            run = await runs.last(connection, ("built",))
            if run is None:
                raise StopProcess("there is no shadow that was built; run `rebuild` first")
            await runs.check_code(connection, run, VERSION)
            before = await runs.last(connection, ("swapped",))
            async with self._followed(consumer, run) as following:
                await self._follow(connection, consumer, following)
                generation = await swap(
                    connection,
                    run,
                    following,
                    consumer,
                    self._place.topics.pet_versions.name,
                    self._place.sent_before,
                    self._held,
                )
            shutil.rmtree(self._folder(run), ignore_errors=True)
            if before is not None:
                await schema.drop(connection, schema.kept_name(before.generation))
            self._display.say("swapped", generation=generation, kept=schema.kept_name(run.generation))
            await self._drop_cached(connection)
            return generation

    async def roll_back(self) -> None:
        """Put back what the last swap has replaced."""
        async with alone(self._place) as connection, self._consumer() as consumer:
            run = await runs.last(connection, ("swapped", "rolled_back"))
            if run is None or run.state == "rolled_back":
                raise StopProcess("there is nothing to go back to: no rebuild is swapped in")
            if not await schema.exists(connection, schema.kept_name(run.generation)):
                raise StopProcess(f"there is nothing to go back to: {schema.kept_name(run.generation)} is gone")
            await runs.check_code(connection, run, VERSION)
            topic = self._place.topics.pet_versions.name
            self._display.say("bringing the kept tables forward")
            forward = await bring_kept_forward(connection, run, consumer, topic)
            generation = await roll_back(connection, forward, consumer, topic, self._held)
            self._display.say("rolled back", of=run.generation, generation=generation)
            await self._drop_cached(connection)

    async def give_up(self) -> None:
        """Remove a shadow that was begun, and the tables that the last swap has kept."""
        async with alone(self._place) as connection:
            run = await runs.last(connection, ("building", "built"))
            if run is not None:
                await schema.drop(connection, schema.shadow_name(run.generation))
                await runs.note_state(connection, run.generation, "given_up")
                shutil.rmtree(self._folder(run), ignore_errors=True)
            swapped = await runs.last(connection, ("swapped",))
            if swapped is not None:
                await schema.drop(connection, schema.kept_name(swapped.generation))
            self._display.say(
                "given up",
                shadow=schema.shadow_name(run.generation) if run else "none",
                kept=schema.kept_name(swapped.generation) if swapped else "none",
            )

    async def _copy(self, connection: Any, run: Run) -> Run:
        shadow = schema.shadow_name(run.generation)
        await schema.create(connection, shadow)
        missing = [number for number in self._partitions if not self._is_copied(run, number)]
        self._display.say("copying", generation=run.generation, partitions=len(missing), of=len(self._partitions))
        tally = Tally(dict(run.marks))
        jobs = [self._job(run, number) for number in missing]
        for mark in await work_on_all(copy_with_keys, jobs, self._place.processes, self._display.following(tally)):
            tally.told(mark)
        self._display.end(tally)
        self._display.say("indexing")
        await schema.index(connection, shadow)
        snapshots = await write_snapshots(connection, shadow)
        self._display.say("indexed", snapshots=snapshots)
        if self._place.start is not None:
            left_out = await leave_out(connection, shadow, self._place.start)
            self._display.say("left out", versions=left_out)
        found = await runs.last(connection, ("building", "built"))
        assert found is not None, "the run was begun under our lock"
        return found

    async def _follow(self, connection: Any, consumer: Any, following: Sequence[CatchUp]) -> None:
        """Until little is left; what comes while we follow is followed, too."""
        while (left := sum([await each.lag(consumer) for each in following])) > NEAR_END:
            self._display.say("catching up", events_left=left)
            for each in following:
                await each.follow(consumer, connection)

    async def _compare(self, connection: Any, run: Run) -> Comparison:
        found = await compare(connection, schema.shadow_name(run.generation))
        self._display.compared(found)
        return found

    def _held(self, attempt: int) -> None:
        self._display.say("a reader holds the tables", attempt=attempt)

    async def _drop_cached(self, connection: Any) -> None:
        """Cached answers were made of the rows before: views read through to the new ones."""
        dropped, after = 0, ""
        while rows := await connection.fetch(load("list_pets"), after, PETS_AT_A_TIME):
            after = rows[-1]["pet_id"]
            dropped += sum([await self._place.cache.invalidate(row["pet_id"]) for row in rows])
        self._display.say("dropped cached answers", answers=dropped)

    def _is_copied(self, run: Run, number: int) -> bool:
        return number in run.marks and run.marks[number].copied

    def _job(self, run: Run, number: int) -> BulkJob:
        return BulkJob(
            database_url=driver_url(self._place.database_url),
            bootstrap_servers=self._place.bootstrap_servers,
            topic=self._place.topics.pet_log.name,
            keys_topic=self._place.topics.pet_keys.name,
            partition=number,
            generation=run.generation,
            schema=schema.shadow_name(run.generation),
            state_folder=self._folder(run) / str(number),
        )

    def _folder(self, run: Run) -> Path:
        return self._place.state / str(run.generation)

    @asynccontextmanager
    async def _followed(self, consumer: Any, run: Run) -> AsyncIterator[list[CatchUp]]:
        """What follows the log for each partition."""
        async with AsyncExitStack() as opened:
            following = []
            keys = await opened.enter_async_context(
                open_pet_keys(self._place.bootstrap_servers, self._place.topics.pet_keys.name)
            )
            for number, mark in run.marks.items():
                each = CatchUp(
                    self._place.topics.pet_log.name,
                    run.generation,
                    schema.shadow_name(run.generation),
                    mark,
                    self._folder(run) / str(number),
                    keys,
                )
                opened.callback(each.close)
                if await each.restore(consumer):
                    self._display.say("folded again", partition=number, up_to=mark.next_offset)
                following.append(each)
            yield following

    @asynccontextmanager
    async def _consumer(self) -> AsyncIterator[Any]:
        log = log_partitions(self._place.bootstrap_servers, self._place.topics.pet_log.name)
        async with log as (consumer, self._partitions):
            yield consumer
