"""From the command line's verb to the rebuild. Called by `app.commands.rebuild`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Literal, TextIO

from redis.exceptions import RedisError

from app.away import stores_told, told
from app.clients import open_redis
from app.fold_generations import read_standing
from app.progress import Display
from app.rebuild.cache import CacheRebuild
from app.rebuild.estimate import estimate, estimate_fold
from app.rebuild.fold.rebuild import FoldRebuild
from app.rebuild.pet import PetRebuild
from app.rebuild.place import Place
from app.rebuild.rebuild import Rebuild
from app.rebuild.recorder import Recorder
from app.rebuild.republish import Republish
from app.settings import Settings
from projections.cache import AnswerCache
from projections.rebuild_progress import ProgressBoard
from projections.shadow.history import Start
from schemas.errors import StopProcess, UnknownVersion

Verb = Literal["build", "swap", "rollback", "give-up", "dry-run", "republish"]


async def run(
    settings: Settings,
    verb: Verb,
    *,
    processes: int,
    as_json: bool,
    out: TextIO,
    pet_id: str | None = None,
    start: Start | None = None,
) -> int:
    """Do it and print it; returns the exit code. Raises StopProcess when it cannot be done.

    `pet_id`: only this pet; verbs are then ``build`` and ``swap``. `start`: where history is to begin.
    """
    async with _opened(settings, "postgres", processes, Display(out, as_json=as_json)) as (opened, display):
        place = replace(opened, start=start)
        if pet_id is not None:
            return await _do_pet(PetRebuild(place, display, pet_id), verb)
        return await _do(Rebuild(place, display), verb, place, display)


async def run_fold(
    settings: Settings, verb: Verb, *, processes: int, as_json: bool, accept_versions: bool, out: TextIO
) -> int:
    """Rebuild the fold's tables; as `run`."""
    async with _opened(settings, "tables", processes, Display(out, as_json=as_json)) as (place, display):
        work = FoldRebuild(settings, display, place.processes)
        if verb == "build":
            return 1 if await work.build() else 0
        if verb == "swap":
            await work.swap(accept_versions=accept_versions)
        elif verb == "rollback":
            await work.roll_back(accept_versions=accept_versions)
        elif verb == "give-up":
            await work.give_up()
        else:
            await estimate_fold(place.bootstrap_servers, place.topics, place.processes, display)
    return 0


async def run_cache(settings: Settings, verb: Verb, *, rate: float, as_json: bool, out: TextIO) -> int:
    """Make the cached answers anew, or with the verb ``dry-run`` compare them; as `run`."""
    async with _opened(settings, "redis", 1, Display(out, as_json=as_json)) as (place, display):
        return 1 if await CacheRebuild(place, display, rate).run(dry=verb == "dry-run") else 0


async def run_republish(settings: Settings, *, rate: float, pet_id: str, as_json: bool, out: TextIO) -> int:
    """Send the snapshots of current versions again; `pet_id`: of one pet only, unless empty. As `run`."""
    async with _opened(settings, "republish", 1, Display(out, as_json=as_json)) as (place, display):
        if not await Republish(settings, place, display, rate, pet_id).run() and pet_id:
            raise StopProcess(f"the fold has no version of {pet_id}")
        return 0


@contextmanager
def _told(settings: Settings) -> Iterator[None]:
    """What ends a rebuild, in one line."""
    try:
        with stores_told(settings, "; run it again, it goes on"), _redis_told(settings):
            yield
    except UnknownVersion as error:
        raise StopProcess(f"the log holds facts of a newer release: {error}") from error
    except BrokenProcessPool as error:
        raise StopProcess(
            f"a process has ended, killed or out of memory: {error}; run it again, it goes on, with fewer `--processes`"
        ) from error


@contextmanager
def _redis_told(settings: Settings) -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise StopProcess(
            f"{told(settings, error)}; the rows are in place, but cached answers of the rows before are"
            f" served until they expire ({settings.cluster_ttl_seconds} s) or their pets change"
        ) from error


@asynccontextmanager
async def _opened(
    settings: Settings, projection: str, processes: int, display: Display
) -> AsyncIterator[tuple[Place, Display]]:
    """Where everything is, and what is told of it: printed, and kept for the API."""
    redis = open_redis(settings)
    recorder = Recorder(ProgressBoard(redis, settings.namespace), display, projection)
    display.listener = recorder.told
    try:
        async with recorder.recording():
            with _told(settings):
                folds = (await read_standing(settings)).live
                place = Place(
                    cache=AnswerCache(redis, namespace=settings.namespace, ttl_seconds=settings.cluster_ttl_seconds),
                    database_url=settings.database_url.get_secret_value(),
                    bootstrap_servers=settings.kafka_bootstrap_servers,
                    topics=settings.topics(),
                    state=settings.data_dir / "rebuild",
                    processes=processes if processes > 0 else os.cpu_count() or 1,
                    sent_before={int(partition): end for partition, end in folds.versions_ends.items()},
                )
                yield place, display
    finally:
        await redis.aclose()


async def _do_pet(work: PetRebuild, verb: Verb) -> int:
    if verb == "swap":
        await work.swap()
        return 0
    return 1 if (await work.compare()).differing else 0


async def _do(work: Rebuild, verb: Verb, place: Place, display: Display) -> int:
    if verb == "build":
        return 1 if (await work.build()).differing else 0
    if verb == "swap":
        await work.swap()
    elif verb == "rollback":
        await work.roll_back()
    elif verb == "give-up":
        await work.give_up()
    else:
        await estimate(place, display)
    return 0
