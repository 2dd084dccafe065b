"""Benchmark `scale`: 10,000 pets of 100 photos and one of 10,000, from an empty log to a swapped rebuild.

    load      the log is written (tests/scale), then fold and projector start and bring everything up to it
    queries   each question that callers ask, at random moments, while jobs go on arriving
    rebuild   of the Postgres projection, against reading, folding and COPY, each alone
    swap      of what was built, while callers ask and jobs arrive

`python -m tests.scale measure --pets 500 --big 1000` does the same with less.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import asyncpg
from rich.console import Console
from rich.progress import Progress

from tests.bench.machine_use import FSYNC_BYTES, cpu_seconds, fsync_often, memory
from tests.bench.paced import Answer, ask, write
from tests.bench.questions import questions
from tests.bench.rebuild_runs import rebuild
from tests.bench.replay_floors import copy_alone, fold_alone, parts_of, read_alone
from tests.bench.report import Cell, Quantiles, Report
from tests.bench.rig import Rig, alive, rig
from tests.scale.history import Size
from tests.scale.write import write_history

SIZE: Final = Size(pets=10_000, images=100, big=10_000)
PARTITIONS: Final = 12
FOLDERS: Final = ("fold", "project")
WRITES_PER_SECOND: Final = 10.0
READS_PER_SECOND: Final = 60.0
QUERY_SECONDS: Final = 240.0
SWAP_SECONDS: Final = 20.0
"""Before the swap and behind it."""
GOAL_REBUILD: Final = 0.8
STEPS: Final = ("load", "queries", "rebuild", "swap")
POSTGRES: Final = {"shared_buffers": "2GB", "max_wal_size": "8GB"}
"""As one would set them for a database of this size; the defaults are for one of a few megabytes."""
_LOAD_SECONDS: Final = 3_600.0
_MILLI: Final = 1e3


def run(console: Console, size: Size = SIZE, last: str = "swap") -> list[Report]:
    """About 22 minutes at the full size on two cores, 20 GB of disk. `last`: the step to end with, of `STEPS`."""
    with rig({"KAFKA_PARTITIONS": str(PARTITIONS)}) as bench, Progress(console=console, transient=True) as progress:
        return asyncio.run(_Scale(bench, size, progress).run(last))


class _Scale:
    """The steps, in order."""

    def __init__(self, bench: Rig, size: Size, progress: Progress) -> None:
        self._bench = bench
        self._service = bench.service
        self._size = size
        self._progress = progress
        self._processes = os.cpu_count() or 1
        self._further = 0

    async def run(self, last: str) -> list[Report]:
        await self._size_postgres()
        steps = dict(zip(STEPS, (self._load, self._queries, self._rebuild, self._swap), strict=True))
        reports = []
        for name, step in steps.items():
            reports.append(await step())
            if name == last:
                break
        return reports

    async def _size_postgres(self) -> None:
        """Settings that Postgres takes only at its start."""
        async with self._database() as connection:
            for name, value in POSTGRES.items():
                await connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self._bench.postgres.stop()
        self._bench.postgres.spawn()
        self._bench.postgres.wait_ready()

    async def _rest(self) -> None:
        """Until what was written is on the disk: else its flood is what would be measured."""
        async with self._database() as connection:
            await connection.execute("CHECKPOINT")
        await asyncio.to_thread(os.sync)

    async def _load(self) -> Report:
        size, service = self._size, self._service
        task, begun = self._progress.add_task("writing the log", total=size.jobs), time.monotonic()
        await write_history(
            service.bootstrap_servers,
            service.topics,
            size,
            processes=self._processes,
            tell=lambda done: self._progress.update(task, completed=done),
        )
        written = time.monotonic() - begun
        begun = time.monotonic()
        service.start(*FOLDERS)
        await self._until_projected(size.jobs)
        folded = time.monotonic() - begun
        rows: list[tuple[Cell, ...]] = [
            ("generator: keys and sealed facts into Kafka", size.jobs / written, size.photos / written, written, "–"),
            ("fold and project, from an empty state", size.jobs / folded, size.photos / folded, folded, "–"),
        ]
        for role in FOLDERS:
            used = cpu_seconds(service.processes[role].pid)
            largest = f"{memory(service.processes[role].pid):,.0f} MB"
            rows.append((f"- of that {role}", size.jobs / used, size.photos / used, used, largest))
        return Report(
            f"load: {size.pets:,} pets of {size.images:,} photos and one of {size.big:,}",
            ("", "events/s", "photos/s", "seconds", "memory"),
            tuple(rows),
            ("of a role: seconds of CPU, what it could do with a core to itself, its largest resident memory",),
        )

    async def _queries(self) -> Report:
        self._service.start("web")
        await self._rest()
        over = asyncio.Event()
        syncing = asyncio.create_task(fsync_often(self._service.root, over))
        async with self._asked_while_jobs_arrive() as answers:
            await self._pass("queries", QUERY_SECONDS)
        over.set()
        disk = Quantiles.of(await syncing)
        rows: list[tuple[Cell, ...]] = [
            (kind, took.count, failed, took.p50, took.p90, took.p99) for kind, took, failed in _by_kind(answers)
        ]
        rows.append(("floor: write and fsync", disk.count, 0, disk.p50, disk.p90, disk.p99))
        return Report(
            f"queries: {self._size.pets:,} pets, {WRITES_PER_SECOND:.0f} jobs of ten photos a second meanwhile",
            ("", "asked", "failed", "p50 ms", "p90 ms", "p99 ms"),
            tuple(rows),
            (
                f"{READS_PER_SECOND:.0f} questions a second at random moments, each timed from when it was due;"
                " one process serves them",
                f"floor: {FSYNC_BYTES:,} bytes appended to a file on the same disk, four times a second",
                "goal: p99 of each at most 20 ms",
            ),
        )

    async def _rebuild(self) -> Report:
        await self._until_projected(self._size.jobs + self._further)
        await self._rest()
        service, parts, processes = self._service, parts_of(self._service, PARTITIONS), self._processes
        task = self._progress.add_task("rebuild, and its floors", total=4)
        seconds = {}
        for name, work in (
            ("read alone", read_alone(parts, processes)),
            ("fold alone", fold_alone(parts, processes)),
            ("COPY alone", copy_alone(service.database_url, processes, service.root)),
        ):
            seconds[name] = await work
            self._progress.advance(task)
        steps = await rebuild(service, "--processes", str(processes))
        self._progress.advance(task)
        compared = steps.told["compared"]
        if compared["differing"] or compared["pets"] < self._size.pets:
            raise RuntimeError(f"the rebuild is not what is live: {compared}")
        seconds["rebuild: reading, folding, copying"] = steps.seconds("copying", "indexing")
        seconds["rebuild: with indexes and comparison"] = steps.ended - steps.begun
        slower = max(seconds["fold alone"], seconds["COPY alone"])
        told = steps.told["copying"]
        rows = tuple(
            (name, told["events"] / took, told["images"] / took, took, slower / took) for name, took in seconds.items()
        )
        return Report(
            f"rebuild of Postgres: {told['events']:,} events, {told['images']:,} photos, {processes} processes",
            ("", "events/s", "photos/s", "seconds", "× the slower of fold and COPY"),
            rows,
            (
                f"in one run, one after the other; goal: {GOAL_REBUILD} × the slower of fold and COPY",
                "differing pets: 0",
            ),
        )

    async def _swap(self) -> Report:
        async with self._asked_while_jobs_arrive() as answers:
            await self._pass("before the swap", SWAP_SECONDS)
            steps = await rebuild(self._service, "--swap")
            await self._pass("behind the swap", SWAP_SECONDS)
        spans = {
            "before": (0.0, steps.begun),
            "while the rebuild catches up and swaps": (steps.begun, steps.ended),
            "behind": (steps.ended, float("inf")),
        }
        rows = []
        for name, (first, last) in spans.items():
            some = [answer for answer in answers if first <= answer.due < last]
            took = Quantiles.of([answer.seconds * _MILLI for answer in some])
            longest = max(answer.seconds for answer in some) * _MILLI
            rows.append((name, took.count, sum(a.status != 200 for a in some), took.p50, took.p99, longest))
        return Report(
            f"swap: all questions in turns, {READS_PER_SECOND:.0f} a second, jobs arriving",
            ("", "asked", "failed", "p50 ms", "p99 ms", "longest ms"),
            tuple(rows),
            (f"`rebuild --swap` took {steps.ended - steps.begun:.1f} s, with what it caught up", "goal: none failed"),
        )

    @contextlib.asynccontextmanager
    async def _asked_while_jobs_arrive(self) -> AsyncIterator[list[Answer]]:
        """Questions and jobs while the block runs. At its end the list has all answers, and the broker all jobs."""
        service, size, over, answers = self._service, self._size, asyncio.Event(), list[Answer]()
        writing = asyncio.create_task(write(service, size, self._further, per_second=WRITES_PER_SECOND, over=over))
        asking = asyncio.create_task(ask(service, questions(service, size), per_second=READS_PER_SECOND, over=over))
        try:
            yield answers
        finally:
            over.set()
            answers += await asking
            self._further = await writing

    @contextlib.asynccontextmanager
    async def _database(self) -> AsyncIterator[Any]:
        connection = await asyncpg.connect(self._service.database_url, command_timeout=600)
        try:
            yield connection
        finally:
            await connection.close()

    async def _until_projected(self, versions: int) -> None:
        task = self._progress.add_task("fold and project", total=versions)
        deadline = time.monotonic() + _LOAD_SECONDS
        async with self._database() as connection:
            while (done := await connection.fetchval("SELECT count(*) FROM pet_clusters")) < versions:
                self._progress.update(task, completed=done)
                alive(self._service)
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{done} of {versions} versions after {_LOAD_SECONDS:.0f} s")
                await asyncio.sleep(1.0)
            self._progress.update(task, completed=done)
            await connection.execute("VACUUM (ANALYZE)")

    async def _pass(self, name: str, seconds: float) -> None:
        task = self._progress.add_task(name, total=seconds)
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < seconds:
            self._progress.update(task, completed=passed)
            alive(self._service)
            await asyncio.sleep(0.5)


def _by_kind(answers: Sequence[Answer]) -> list[tuple[str, Quantiles, int]]:
    """(kind, milliseconds, how many were not answered with 200)."""
    found: defaultdict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        found[answer.kind].append(answer)
    return [
        (kind, Quantiles.of([a.seconds * _MILLI for a in some]), sum(a.status != 200 for a in some))
        for kind, some in found.items()
    ]
