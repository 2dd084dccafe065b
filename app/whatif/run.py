"""From the command line to the report. Called by `app.commands.what_if`."""

from __future__ import annotations

import heapq
import os
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TextIO

from app.partitions import partition_of
from app.policy.overrides import Overrides
from app.progress import Display, Tally
from app.scratch import scratch
from app.settings import Settings
from app.whatif.page import PETS_SHOWN, write_page
from app.whatif.report import Report, print_report
from app.whatif.work import Choice, Task, choose, keep_changes, replay
from app.worker_processes import JobT, ResultT, Work, Workers
from projections.offsets import LogOffsets
from schemas.errors import StopProcess, UnknownVersion


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
    try:
        with (
            scratch(settings.data_dir / "what-if", "replay") as folder,
            Workers(request.processes or os.cpu_count() or 1) as workers,
        ):
            report = await _Run(settings, request, folder, workers, out).report()
    except UnknownVersion as error:
        raise StopProcess(f"the log holds facts of a newer release: {error}") from error
    except BrokenProcessPool as error:
        raise StopProcess(f"a process has ended, killed or out of memory: {error}") from error
    print_report(report, out, as_json=request.as_json)
    if request.page is not None:
        missing = await write_page(settings, report, request.page)
        Display(out, as_json=request.as_json).say("page written", file=str(request.page), pictures_missing=missing)


@dataclass(frozen=True, slots=True)
class _Run:
    settings: Settings
    request: Request
    folder: Path
    workers: Workers
    out: TextIO

    async def report(self) -> Report:
        """Replay the pets that are asked for. Raises StopProcess when the log does not know one."""
        topics, shown = self.settings.topics(), PETS_SHOWN if self.request.page is not None else 0
        async with LogOffsets(self.settings.kafka_bootstrap_servers) as broker:
            numbers = await broker.partitions_there(topics.pet_log.name)
            await broker.partitions_there(topics.pet_keys.name)
        tasks = [
            Task(self.settings, number, self.folder / str(number), self.request.overrides, shown=shown)
            for number in numbers
        ]
        pets = self.request.pets
        if self.request.sample is not None:
            pets = await self._sampled(tasks, self.request.sample)
        if pets:
            of_partition: dict[int, set[str]] = {}
            for pet in pets:
                of_partition.setdefault(partition_of(pet, len(numbers)), set()).add(pet)
            tasks = [replace(tasks[number], only=frozenset(some)) for number, some in sorted(of_partition.items())]
        done = await self._work(replay, tasks, "replaying")
        differences = keep_changes((found for each in done for found in each.differences), shown)
        if unknown := sorted(self.request.pets - {found.pet_id for found in differences}):
            raise StopProcess(f"--pet {', '.join(unknown)}: the log has no version of this pet")
        policies = list(dict.fromkeys((each.today, each.what_if) for each in done))
        return Report(differences, policies, sum(each.events for each in done))

    async def _sampled(self, tasks: Sequence[Task], number: int) -> frozenset[str]:
        """The pets with the lowest digests of all partitions."""
        found = await self._work(choose, [Choice(task, number) for task in tasks], "looking for pets")
        pets = frozenset(pet for _, pet in heapq.nsmallest(number, chain.from_iterable(found)))
        if not pets:
            raise StopProcess("the log knows no pet")
        return pets

    async def _work(self, work: Work[JobT, ResultT], jobs: Sequence[JobT], doing: str) -> list[ResultT]:
        """Do the jobs in processes, and show how far they are."""
        display, tally = Display(self.out, as_json=self.request.as_json, doing=doing), Tally()
        done = await self.workers.run(work, jobs, display.following(tally))
        display.end(tally)
        return done
