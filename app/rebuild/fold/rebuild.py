"""The order of a rebuild of the fold's tables: build, compare, hand over; and back. Run by `app.rebuild.run`.

Each step may be killed; the next start reads on `media.fold.generations` what is under way and goes on from the rows in
the state folder. The live fold goes on until the hand-over.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import asyncpg
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from msgspec.structs import replace

from app import VERSION
from app.faust_apps import changelog_topic
from app.fold_generations import read_standing, record_generation
from app.prepare import create_topics
from app.progress import Display
from app.rebuild.fold.hand_over import commit_for, wait_until_empty
from app.rebuild.fold.place import FoldPlace, changelog_of, folder_of
from app.rebuild.fold.steps import Steps, check_versions
from app.settings import Settings
from app.worker_processes import Workers
from projections.offsets import LogOffsets
from projections.shadow import runs
from projections.urls import driver_url
from schemas.errors import StopProcess
from schemas.generations import Generation, Standing
from schemas.headers import timestamp, utc_now

MARGIN_SECONDS: Final = 30.0
"""Beside a shutdown and a session time-out: how long workers may take to see that they are to end."""


class FoldRebuild:
    """A rebuild of the tables; raises StopProcess when another rebuild runs, or when going on makes no sense."""

    def __init__(self, settings: Settings, display: Display, processes: int) -> None:
        self._settings = settings
        self._display = display
        self._processes = processes

    async def build(self) -> int:
        """Build another generation, or go on with it, and compare; hands nothing over. Returns how many pets differ.

        After a hand-over that was cut off, the live generation folds on first.
        """
        async with self._alone() as broker:
            found = await read_standing(self._settings)
            if found.under_way is not None and found.handing_over:
                await self._fold_on(found.live, found.under_way)
            target = found.under_way or await self._begin(found, found.highest + 1)
            with self._steps(self._place(found, target), broker) as steps:
                await steps.catch_up()
                return len(await steps.compare())

    async def swap(self, *, accept_versions: bool = False) -> int:
        """Hand over to the generation that was built; returns its number.

        `accept_versions`: also when pets have other versions than the live fold has sent.
        """
        async with self._alone() as broker:
            found = await read_standing(self._settings)
            if found.under_way is None:
                raise StopProcess("there are no tables that were built; run `rebuild --projection tables` first")
            self._say_goes_on(found)
            return await self._hand_over(self._place(found, found.under_way), broker, accept_versions)

    async def roll_back(self, *, accept_versions: bool = False) -> int:
        """Hand back to the generation before, brought forward to where the live one stands; returns its number."""
        async with self._alone() as broker:
            found = await read_standing(self._settings)
            target = found.under_way
            if target is not None and target.generation != found.kept:
                raise StopProcess(f"generation {target.generation} is being built: swap it, or give it up first")
            if target is None and not found.kept:
                raise StopProcess("there is nothing to go back to: no tables of an earlier generation are kept")
            self._say_goes_on(found)
            target = target or await self._begin(found, found.kept)
            return await self._hand_over(self._place(found, target), broker, accept_versions)

    async def give_up(self) -> None:
        """Remove tables that were begun, and those that the last hand-over has kept."""
        async with self._alone():
            found = await read_standing(self._settings)
            going = {found.kept: replace(found.live, generation=found.kept)} if found.kept else {}
            if found.under_way is not None:
                going[found.under_way.generation] = found.under_way
            for each in going.values():
                await self._record(replace(each, state="given_up"))
                shutil.rmtree(folder_of(self._settings, each.generation), ignore_errors=True)
            removed = await self._delete([changelog_of(self._settings, number) for number in going])
            self._display.say("given up", changelogs=" ".join(removed) or "none")

    async def _begin(self, found: Standing, number: int) -> Generation:
        """Note what is begun. An earlier generation goes on from where it has handed over, a new one from nothing."""
        begun = Generation(
            generation=number,
            state="building",
            release=VERSION,
            time="",
            previous=found.live.generation,
            offsets=found.live.offsets if number == found.kept else {},
        )
        shutil.rmtree(folder_of(self._settings, number), ignore_errors=True)
        await create_topics(self._settings, (changelog_topic(self._settings, "fold", number),))
        await self._record(begun)
        return begun

    def _place(self, found: Standing, target: Generation) -> FoldPlace:
        if target.release != VERSION:
            raise StopProcess(
                f"generation {target.generation} was begun by release {target.release}, this is {VERSION}: its rows may"
                " not be what this release folds. Give it up (`--give-up`) and build anew"
            )
        return FoldPlace(self._settings, found.live, target)

    @contextmanager
    def _steps(self, place: FoldPlace, broker: LogOffsets) -> Iterator[Steps]:
        with Workers(self._processes) as workers:
            yield Steps(place, broker, self._display, workers)

    async def _hand_over(self, place: FoldPlace, broker: LogOffsets, accept_versions: bool) -> int:
        """See `hand_over.py`. What stands in its way before the last step leaves the live generation at work."""
        with self._steps(place, broker) as steps:
            await steps.catch_up()
            check_versions(await steps.compare(), accepted=accept_versions)
            try:
                await self._record(replace(place.target, state="handing_over"))
                offsets = await self._take_over(place, broker, steps, accept_versions)
                ends = await self._versions_ends(broker, offsets)
            except (Exception, asyncio.CancelledError) as error:  # Ctrl-C cancels, and nobody would fold
                await self._stay(place, error)
                raise
        done = replace(
            place.target,
            state="live",
            previous=place.live.generation,
            offsets={str(number): offset for number, offset in offsets.items()},
            versions_ends=ends,
        )
        try:
            await self._record(done)
        except Exception as error:  # the broker may have it: what says "building" behind it would take it back
            raise _nobody_folds(error) from error
        shutil.rmtree(place.folder, ignore_errors=True)
        kept = changelog_of(self._settings, place.live.generation)
        self._display.say("handed over", generation=place.target.generation, kept=kept)
        return place.target.generation

    async def _take_over(
        self, place: FoldPlace, broker: LogOffsets, steps: Steps, accept_versions: bool
    ) -> dict[int, int]:
        """Steps 2 to 5 of `hand_over.py`; partition → where the next generation goes on."""
        seconds = self._settings.kafka_session_timeout_seconds + self._settings.shutdown_seconds + MARGIN_SECONDS
        told: list[list[str]] = []

        def waits(members: list[str]) -> None:
            if told[-1:] != [members]:
                told.append(members)
                self._display.say("waiting for workers to end", members=" ".join(members))

        await wait_until_empty(broker, place.group, seconds, waits)
        offsets = {job.partition: job.end for job in await steps.build()}
        check_versions(await steps.compare(), accepted=accept_versions)
        tps = {TopicPartition(place.log, number): offset for number, offset in offsets.items()}
        await commit_for(self._settings.kafka_bootstrap_servers, place.next_group, tps)
        return offsets

    async def _stay(self, place: FoldPlace, error: BaseException) -> None:
        try:
            await self._fold_on(place.live, place.target)
        except Exception as again:
            raise _nobody_folds(error, again) from error

    async def _fold_on(self, live: Generation, target: Generation) -> None:
        """The live generation folds on; what is built stays, for another hand-over."""
        await self._record(replace(target, state="building"))
        self._display.say("the hand-over was cut off, the live generation folds on", generation=live.generation)

    def _say_goes_on(self, found: Standing) -> None:
        if found.handing_over:
            self._display.say("going on with a hand-over that was cut off")

    async def _versions_ends(self, broker: LogOffsets, partitions: Iterable[int]) -> dict[str, int]:
        versions = self._settings.topics().pet_versions.name
        ends = await broker.ends([TopicPartition(versions, number) for number in partitions])
        return {str(tp.partition): end for tp, end in ends.items()}

    async def _record(self, record: Generation) -> None:
        await record_generation(self._settings, replace(record, time=timestamp(utc_now())))

    async def _delete(self, names: list[str]) -> list[str]:
        """Delete those of the topics that are there."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._settings.kafka_bootstrap_servers)
        await admin.start()
        try:
            there = [name for name in names if name in await admin.list_topics()]
            if there:
                await admin.delete_topics(there)
            return there
        finally:
            await admin.close()

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[LogOffsets]:
        """What asks the broker, while no other rebuild runs."""
        connection: Any = await asyncpg.connect(driver_url(self._settings.database_url.get_secret_value()))
        try:
            if not await runs.take_turn(connection):
                raise StopProcess("another rebuild is under way")
            async with LogOffsets(self._settings.kafka_bootstrap_servers) as broker:
                yield broker
        finally:
            await connection.close()


def _nobody_folds(*errors: BaseException) -> StopProcess:
    reasons = "; then ".join(f"{type(error).__name__}: {error}" for error in errors)
    return StopProcess(
        f"nobody folds now: the hand-over was cut off ({reasons}). Run `--swap` to go on with it; without it"
        " the live generation folds on first, as with `--give-up`"
    )
