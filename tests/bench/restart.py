"""Benchmark `restart`: from SIGKILL of a role until a job that was submitted right then has ended.

Local state is kept, as on a machine whose process has died; the new process starts at once. Nothing else fails.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import time
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import Progress

from tests.bench.report import Quantiles, Report
from tests.bench.rig import Rig, rig
from tests.e2e.service import ROLES
from tests.photos import photo_path

KILLS: Final = 12
"""Of each role."""
KNOWN_JOBS: Final = 40
"""Before the first kill, so that there is a state to come back to."""
PETS: Final = 8


def run(console: Console) -> list[Report]:
    """Kill each role some times, about two minutes."""
    with rig({"EMBEDDING_CONSTANT_TIME_MS": "0"}) as bench, Progress(console=console, transient=True) as progress:
        bench.service.start()
        return [asyncio.run(_measure(bench, progress))]


async def _measure(bench: Rig, progress: Progress) -> Report:
    numbers = itertools.count()
    for _ in range(KNOWN_JOBS):
        await bench.service.job(_submit(bench, next(numbers)))
    rows = []
    for role in ROLES:
        task = progress.add_task(f"kill {role}", total=KILLS)
        seconds = []
        for _ in range(KILLS):
            seconds.append(await _kill(bench, role, next(numbers)))
            progress.advance(task)
        quantiles = Quantiles.of(seconds)
        rows.append((role, quantiles.count, quantiles.p50, quantiles.p90, max(seconds)))
    return Report(
        "restart: SIGKILL → a job submitted right then has succeeded, seconds",
        ("", "kills", "p50", "p90", "longest"),
        tuple(rows),
        (
            "the new process starts at once and takes its partitions back by static membership; local state is kept",
            "the whole way of the job is in it: XADD, all five roles, GET",
        ),
    )


async def _kill(bench: Rig, role: str, number: int) -> float:
    """Seconds from the signal until the job's end can be read."""
    service = bench.service
    begun = time.monotonic()
    service.kill(role)
    service.spawn(role)
    await service.job(_submit(bench, number))
    return time.monotonic() - begun


def _submit(bench: Rig, number: int) -> str:
    """XADD a job of one photo that is new to its pet; its id."""
    image_id = f"photo-{number}"
    shutil.copy(photo_path("rocket.jpg"), Path(bench.images, f"{image_id}.jpg"))
    bench.service.publish(f"pet-{number % PETS}", f"job-{number}", [image_id])
    return f"job-{number}"
