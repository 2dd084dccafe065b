"""Keeps a fold worker to the generation that is at work; used by the role `fold`.

Two generations must never fold at once, and no worker is told by hand. So a worker reads the record at its start; reads
it again in each generation of its group, after it has joined and before its first event; and ends in good order as soon
as it changes, to be started again by its supervisor. Whoever takes over (app.rebuild.fold) writes the record first and
then waits until the group is empty: a worker that joins later reads the new record.
"""

from __future__ import annotations

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from mode import Service

from app import VERSION
from app.away import told
from app.fold_generations import read_standing
from app.roles.role import Role
from app.settings import Settings
from app.telemetry.health import Check
from projections.log_reading import log_end
from schemas.errors import StopProcess
from schemas.generations import GENERATION_PARTITION, Generation, Standing, decode_generation, standing

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 1.0
POLL_MS: Final = 1000


def wait_for_turn(role: Role) -> int:
    """The generation that is to fold, as soon as no hand-over is under way.

    Raises StopProcess when a newer release has built its tables: this one may have what they were built to cure.
    """
    # In a thread: Faust's loop is the one of this one.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, _wait(role)).result()


async def _wait(role: Role) -> int:
    found = await _read(role.settings)
    if found.handing_over:
        async with role.operated(_waits):
            while found.handing_over:
                log.info("waits_for_the_hand_over", generation=found.under_way and found.under_way.generation)
                await asyncio.sleep(LOOK_SECONDS)
                found = await _read(role.settings)
    if is_older(VERSION, found.live.release):
        raise StopProcess(
            f"generation {found.live.generation} of the fold was built by release {found.live.release}, this is"
            f" {VERSION}: an older release may not fold it on"
        )
    return found.live.generation


async def _waits() -> dict[str, Check]:
    return {"generation": Check(False, "another generation of the fold is about to take over")}


async def _read(settings: Settings) -> Standing:
    try:
        return await read_standing(settings)
    except KafkaError as error:
        raise StopProcess(str(told(settings, error))) from error


async def check_turn(settings: Settings, generation: int) -> None:
    """Raises StopProcess when this generation does not fold any more, KafkaError when that cannot be read."""
    if not _may_fold(await read_standing(settings), generation):
        raise StopProcess(f"generation {generation} of the fold has handed over, or is about to")


def _may_fold(found: Standing, generation: int) -> bool:
    return found.live.generation == generation and not found.handing_over


def is_older(release: str, other: str) -> bool:
    """Whether `release` comes before `other`, number by number."""
    return _numbers(release) < _numbers(other)


def _numbers(release: str) -> list[int]:
    return [int(part) for part in release.split(".") if part.isdigit()]


class GenerationWatch(Service):
    """Ends the worker in good order, as SIGTERM does, when the record no longer names its generation."""

    abstract = False

    def __init__(self, settings: Settings, generation: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._settings = settings
        self._generation = generation
        self.over = False
        """Whether that was so."""

    @Service.task
    async def _watch(self) -> None:
        while not self.should_stop:
            try:
                await self._follow()
            except KafkaError as error:
                log.warning("generation_watch_waits_for_kafka", error=repr(error))
                await self.sleep(LOOK_SECONDS)

    async def _follow(self) -> None:
        records: list[Generation] = []
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka_bootstrap_servers,
            client_id="media-fold-generation",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=POLL_MS,
        )
        await consumer.start()
        try:
            tp = TopicPartition(self._settings.topics().fold_generations.name, GENERATION_PARTITION)
            consumer.assign([tp])
            end = await log_end(consumer, tp)
            while not self.should_stop:
                for some in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                    records += [decode_generation(record.value) for record in some]
                if await consumer.position(tp) >= end and not _may_fold(standing(records), self._generation):
                    self.over = True
                    os.kill(os.getpid(), signal.SIGTERM)
                    await self.wait_until_stopped()
        finally:
            await consumer.stop()
