"""From the command line to the report. Called by `app.commands.what_if`."""

from __future__ import annotations

import heapq
import os
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO, TypeVar

from app.partitions import partition_of
from app.progress import Display, Tally
from app.scratch import scratch
from app.settings import Settings
from app.whatif.page import PETS_SHOWN, write_page
from app.whatif.policy import Overrides
from app.whatif.report import Report, print_report
from app.whatif.work import Choice, Task, choose, keep_changes, replay
from app.worker_processes import work_on_all
from projections.offsets import LogOffsets
from projections.shadow.runs import Mark
from schemas.errors import StopProcess, UnknownVersion

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Request:
    """`pets`: these; else `sample` of all, all if None. `processes`: 0 for one a core. `page`: the HTML file."""

    overrides: Overrides
    pets: frozenset[str] = frozenset()
    sample: int | None = None
    processes: int = 0
    as_json: bool = False
    page: Path | None = None


async def run(settings: Settings, request: Request, out: TextIO) -> None:
    """Replay, compare and print. Raises StopProcess when it could not be done, errors of Kafka's client, and OSError
    of the page's file.
    """
    display = Display(out, as_json=request.as_json)
    try:
        with scratch(settings.data_dir / "what-if", "replay") as folder:
            report = await _report(settings, request, folder, out)
    except UnknownVersion as error:
        raise StopProcess(f"the log holds facts of a newer release: {error}") from error
    except BrokenProcessPool as error:
        raise StopProcess(f"a process has ended, killed or out of memory: {error}") from error
    print_report(report, out, as_json=request.as_json)
    if request.page is not None:
        missing = await write_page(settings, report, request.page)
        display.say("page written", file=str(request.page), pictures_missing=missing)


async def _report(settings: Settings, request: Request, folder: Path, out: TextIO) -> Report:
    async with LogOffsets(settings.kafka_bootstrap_servers) as broker:
        numbers = await broker.partitions_there(settings.topics().pet_log.name)
        await broker.partitions_there(settings.topics().pet_keys.name)
    shown = PETS_SHOWN if request.page is not None else 0
    tasks = [Task(settings, number, folder / str(number), request.overrides, shown=shown) for number in numbers]
    pets = request.pets
    if request.sample is not None:
        choices = [Choice(task, request.sample) for task in tasks]
        chosen = await _work(choose, choices, request, out, "looking for pets")
        pets = frozenset(pet for _, pet in heapq.nsmallest(request.sample, (each for some in chosen for each in some)))
        if not pets:
            raise StopProcess("the log knows no pet")
    if pets:
        of_partition = {
            number: frozenset(p for p in pets if partition_of(p, len(numbers)) == number) for number in numbers
        }
        tasks = [replace(task, only=of_partition[task.partition]) for task in tasks if of_partition[task.partition]]
    done = await _work(replay, tasks, request, out, "replaying")
    differences = keep_changes((found for each in done for found in each.differences), shown)
    if unknown := sorted(request.pets - {found.pet_id for found in differences}):
        raise StopProcess(f"--pet {', '.join(unknown)}: the log has no version of this pet")
    policies = list(dict.fromkeys((each.today, each.what_if) for each in done))
    return Report(differences, policies, sum(each.events for each in done))


async def _work(
    work: Callable[[JobT, Callable[[Mark], None]], Awaitable[ResultT]],
    jobs: Sequence[JobT],
    request: Request,
    out: TextIO,
    doing: str,
) -> list[ResultT]:
    """Do the jobs in processes, and show how far they are."""
    display, tally = Display(out, as_json=request.as_json, doing=doing), Tally()
    done = await work_on_all(work, jobs, request.processes or os.cpu_count() or 1, display.following(tally))
    display.end(tally)
    return done
