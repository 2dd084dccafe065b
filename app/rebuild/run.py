"""From the command line's verb to the rebuild. Called by `app.commands.rebuild`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Literal, TextIO

from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from app.clients import open_redis
from app.fold_generations import read_standing
from app.rebuild.cache import CacheRebuild
from app.rebuild.estimate import estimate, estimate_fold
from app.rebuild.fold.rebuild import FoldRebuild
from app.rebuild.pet import PetRebuild
from app.rebuild.place import Place
from app.rebuild.progress import Display
from app.rebuild.rebuild import Rebuild
from app.rebuild.republish import Republish
from app.settings import Settings
from projections.away import POSTGRES_ERRORS
from projections.cache import AnswerCache
from projections.shadow.history import Start
from schemas.errors import StopProcess, UnknownVersion

Verb = Literal["build", "swap", "rollback", "give-up", "dry-run", "republish"]


async def run_fold(
    settings: Settings, verb: Verb, *, processes: int, as_json: bool, accept_versions: bool, out: TextIO
) -> int:
    """Rebuild the fold's tables; as `run`."""
    display, processes = Display(out, as_json=as_json), processes if processes > 0 else os.cpu_count() or 1
    work = FoldRebuild(settings, display, processes)
    with _told():
        if verb == "build":
            return 1 if await work.build() else 0
        if verb == "swap":
            await work.swap(accept_versions=accept_versions)
        elif verb == "rollback":
            await work.roll_back(accept_versions=accept_versions)
        elif verb == "give-up":
            await work.give_up()
        else:
            await estimate_fold(settings.kafka_bootstrap_servers, settings.topics().pet_log.name, processes, display)
    return 0


@contextmanager
def _told() -> Iterator[None]:
    """What ends a rebuild, in one line."""
    try:
        yield
    except UnknownVersion as error:
        raise StopProcess(f"the log holds facts of a newer release: {error}") from error
    except POSTGRES_ERRORS as error:
        raise StopProcess(f"Postgres: {type(error).__name__}: {error}; run it again, it goes on") from error
    except KafkaError as error:
        raise StopProcess(f"Kafka: {type(error).__name__}: {error}; run it again, it goes on") from error


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
    display = Display(out, as_json=as_json)
    async with _place(settings, processes) as opened:
        place = replace(opened, start=start)
        if pet_id is not None:
            return await _do_pet(PetRebuild(place, display, pet_id), verb)
        return await _do(Rebuild(place, display), verb, place, display)


async def run_cache(settings: Settings, verb: Verb, *, rate: float, as_json: bool, out: TextIO) -> int:
    """Make the cached answers anew, or with the verb ``dry-run`` compare them; as `run`."""
    async with _place(settings, 1) as place:
        differing = await CacheRebuild(place, Display(out, as_json=as_json), rate).run(dry=verb == "dry-run")
    return 1 if differing else 0


async def run_republish(settings: Settings, *, rate: float, pet_id: str, as_json: bool, out: TextIO) -> int:
    """Send the snapshots of current versions again; `pet_id`: of one pet only, unless empty. As `run`."""
    async with _place(settings, 1) as place:
        sent = await Republish(settings, place, Display(out, as_json=as_json), rate, pet_id).run()
    if pet_id and not sent:
        raise StopProcess(f"the fold has no version of {pet_id}")
    return 0


@asynccontextmanager
async def _place(settings: Settings, processes: int) -> AsyncIterator[Place]:
    """Where everything is, and what ends a rebuild in one line."""
    redis = open_redis(settings)
    try:
        with _told():
            folds = (await read_standing(settings)).live
            yield Place(
                cache=AnswerCache(redis, namespace=settings.namespace, ttl_seconds=settings.cluster_ttl_seconds),
                database_url=settings.database_url.get_secret_value(),
                bootstrap_servers=settings.kafka_bootstrap_servers,
                topics=settings.topics(),
                state=settings.data_dir / "rebuild",
                processes=processes if processes > 0 else os.cpu_count() or 1,
                sent_before={int(partition): end for partition, end in folds.versions_ends.items()},
            )
    except RedisError as error:
        raise StopProcess(
            f"Redis: {type(error).__name__}: {error}; the rows are in place, but cached answers of the rows before are"
            f" served until they expire ({settings.cluster_ttl_seconds} s) or their pets change"
        ) from error
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
