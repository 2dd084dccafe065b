"""From the command line to the verification of all partitions. Called by `app.commands.verify`."""

from __future__ import annotations

import os
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from app.away import STORE_ERRORS, told
from app.faust_apps import changelog_topic, group_id
from app.fold_generations import read_standing
from app.partitions import partition_of
from app.progress import Display, Tally
from app.scratch import scratch
from app.settings import Settings
from app.verify.report import Report, print_report, write_metrics
from app.verify.work import Job, verify_partition
from app.worker_processes import work_on_all
from projections.offsets import LogOffsets
from projections.verify.outcome import Task, Verified
from schemas.errors import StopProcess, UnknownVersion


@dataclass(frozen=True, slots=True)
class Request:
    """`pet_id`: only this one. `processes`: 0 for one a core. `metrics_file`: written when it is done."""

    pet_id: str | None = None
    processes: int = 0
    as_json: bool = False
    metrics_file: Path | None = None


async def run(settings: Settings, request: Request, out: TextIO) -> int:
    """Verify and print; 1 when something differs, else 0. Raises StopProcess when it could not be done."""
    begun = time.monotonic()
    display, tally = Display(out, as_json=request.as_json, doing="verifying"), Tally()
    try:
        with scratch(settings.data_dir / "verify", "verification") as folder:
            jobs = [Job(settings, task) for task in await _tasks(settings, request, folder)]
            processes = request.processes or os.cpu_count() or 1
            done = await work_on_all(verify_partition, jobs, processes, display.following(tally))
        display.end(tally)
        report = Report(done, time.monotonic() - begun)
        if request.pet_id is not None and not any(map(_knows_any, done)):
            raise StopProcess(f"--pet {request.pet_id}: neither the log nor Postgres nor Redis knows this pet")
        print_report(report, out, as_json=request.as_json)
        if request.metrics_file is not None:
            write_metrics(report, request.metrics_file)
    except UnknownVersion as error:
        raise StopProcess(f"the log holds facts of a newer release: {error}") from error
    except BrokenProcessPool as error:
        raise StopProcess(f"a process has ended, killed or out of memory: {error}") from error
    except STORE_ERRORS as error:
        raise StopProcess(told(settings, error) or f"a file: {error}") from error
    return 1 if report.findings else 0


def _knows_any(done: Verified) -> bool:
    return bool(done.pets or done.in_postgres or done.in_redis or done.made_up)


async def _tasks(settings: Settings, request: Request, folder: Path) -> list[Task]:
    """One a partition; of one pet, its own."""
    topics = settings.topics()
    log, versions = topics.pet_log.name, topics.pet_versions.name
    async with LogOffsets(settings.kafka_bootstrap_servers) as broker:
        for name in (log, versions, topics.fold_generations.name):
            await broker.partitions_there(name)
        folds = (await read_standing(settings)).live.generation
        changelog = changelog_topic(settings, "fold", folds).name
        numbers = await broker.partitions_there(changelog)
    if request.pet_id is not None:
        numbers = [partition_of(request.pet_id, len(numbers))]
    return [
        Task(
            partition=number,
            log=log,
            versions=versions,
            changelog=changelog,
            group=group_id(settings, "fold", folds),
            folder=folder / str(number),
            only=request.pet_id,
        )
        for number in numbers
    ]
