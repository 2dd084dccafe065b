"""Benchmark `bytes`: what one arriving photo writes, by topic and in Postgres, at albums of 10, 100 and 1,000 photos.

The whole service runs, with the constant-time embedder. Albums are built first; then the same number of further jobs
is published for each size, ten a second, and what the stores hold more is divided by their photos.

    Kafka      bytes of all segment files (*.log) of a topic in the broker's data folder; nothing is compressed, and
               the log cleaner touches only closed segments, so that they hold every byte that was appended
    Postgres   pg_wal_lsn_diff after a CHECKPOINT; pg_waldump tells records from full-page images
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
from rich.console import Console
from rich.progress import Progress, TaskID

from app.local.postgres import binaries
from tests.bench.album import JOB_IMAGES, MosaicPhotos, scenes
from tests.bench.report import Cell, Report
from tests.bench.rig import Rig, alive, rig

ALBUMS: Final = (10, 100, 1_000)
MEASURED_JOBS: Final = 40
JOBS_PER_SECOND: Final = 10.0
FLAT: Final = 2.0
_QUIET_SECONDS: Final = 2.5
"""Longer than the intervals of commits and of the projector's bookkeeping (1 s)."""
_DEADLINE_SECONDS: Final = 180.0
_TOTAL_LINE: Final = re.compile(r"^Total\s+\d+\s+(\d+)\s+\[\S+?\]\s+(\d+)\s+\[\S+?\]", re.MULTILINE)

Job = tuple[str, str, list[str]]


@dataclass(frozen=True)
class Written:
    """Bytes of one album size's measured jobs. `records`, `page_images`: how pg_waldump splits `wal`."""

    topics: dict[str, int]
    wal: int
    records: int
    page_images: int


def run(console: Console) -> list[Report]:
    """Build the albums, then measure further jobs for each size."""
    with rig({"EMBEDDING_CONSTANT_TIME_MS": "0"}) as bench, Progress(console=console, transient=True) as progress:
        bench.service.start()
        return asyncio.run(_measure_all(bench, progress))


async def _measure_all(bench: Rig, progress: Progress) -> list[Report]:
    plans = {size: _plan(size, MosaicPhotos(bench.images, size)) for size in ALBUMS}
    database = await asyncpg.connect(bench.service.database_url)
    try:
        build = [job for first, _ in plans.values() for job in first]
        await _publish(bench, database, build, progress.add_task("build albums", total=len(build)), progress, 0.0)
        found = {}
        for size, (_, further) in plans.items():
            task = progress.add_task(f"albums of {size:,}", total=len(further))
            found[size] = await _measure(bench, database, further, task, progress)
    finally:
        await database.close()
    return [_report(found)]


def _plan(size: int, photos: MosaicPhotos) -> tuple[list[Job], list[Job]]:
    """The jobs that build albums of `size`, and the further ones; small albums are many, so that none doubles."""
    built, further = size // JOB_IMAGES, max(1, min(MEASURED_JOBS, size // JOB_IMAGES // 5))
    first, later = list[Job](), list[Job]()
    for pet in range(MEASURED_JOBS // further):
        pet_id = f"pet_{size:05}_{pet:03}"
        for number, shots in enumerate(scenes(built + further, pet)):
            image_ids = [f"{pet_id}_img_{number:04}_{n}" for n in range(JOB_IMAGES)]
            for image_id, scene in zip(image_ids, shots, strict=True):
                photos.shoot(image_id, pet * size + scene)
            (first if number < built else later).append((pet_id, f"{pet_id}_job_{number:04}", image_ids))
    return first, later


async def _measure(bench: Rig, database: Any, jobs: list[Job], task: TaskID, progress: Progress) -> Written:
    await _quiet(bench, database)
    await database.execute("CHECKPOINT")
    lsn, before = await _lsn(database), topic_bytes(bench.kafka.data_dir)
    await _publish(bench, database, jobs, task, progress, 1 / JOBS_PER_SECOND)
    await _quiet(bench, database)
    end, after = await _lsn(database), topic_bytes(bench.kafka.data_dir)
    wal = int(await database.fetchval("SELECT pg_wal_lsn_diff($1::text::pg_lsn, $2::text::pg_lsn)", end, lsn))
    records, page_images = _split_wal(bench.postgres.data_dir, lsn, end)
    return Written({topic: after[topic] - before.get(topic, 0) for topic in after}, wal, records, page_images)


async def _publish(
    bench: Rig, database: Any, jobs: list[Job], task: TaskID, progress: Progress, interval: float
) -> None:
    """Publish the jobs and wait until all have succeeded."""
    ended = await _succeeded(database)
    for pet_id, job_id, image_ids in jobs:
        bench.service.publish(pet_id, job_id, image_ids)
        await asyncio.sleep(interval)
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while (done := await _succeeded(database) - ended) < len(jobs):
        progress.update(task, completed=done)
        alive(bench.service)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{done} of {len(jobs)} jobs have succeeded after {_DEADLINE_SECONDS:.0f} s")
        await asyncio.sleep(0.2)
    progress.update(task, completed=len(jobs))


async def _succeeded(database: Any) -> int:
    return int(await database.fetchval("SELECT count(*) FROM cluster_jobs WHERE status = 'succeeded'"))


async def _quiet(bench: Rig, database: Any) -> None:
    """Wait until neither store has grown for a while: changelogs, commits and positions come behind the answers."""
    deadline, since, last = time.monotonic() + _DEADLINE_SECONDS, time.monotonic(), None
    while time.monotonic() - since < _QUIET_SECONDS:
        now = (topic_bytes(bench.kafka.data_dir), await _lsn(database))
        if now != last:
            since, last = time.monotonic(), now
        if time.monotonic() > deadline:
            raise TimeoutError("the stores do not come to rest")
        await asyncio.sleep(0.1)


async def _lsn(database: Any) -> str:
    return str(await database.fetchval("SELECT pg_current_wal_insert_lsn()::text"))


def topic_bytes(data_dir: Path) -> Counter[str]:
    """Bytes of each topic in the data folder of a one-node Kafka, its own topics among them."""
    sizes: Counter[str] = Counter()
    for segment in (data_dir / "data").glob("*-*/*.log"):
        sizes[segment.parent.name.rpartition("-")[0]] += segment.stat().st_size
    return sizes


def _split_wal(data_dir: Path, start: str, end: str) -> tuple[int, int]:
    """Bytes of records and of full-page images between two positions of the write-ahead log."""
    folder = data_dir / "data" / "pg_wal"
    command = [str(binaries() / "pg_waldump"), "--stats", "--path", str(folder), "--start", start, "--end", end]
    done = subprocess.run(command, capture_output=True, text=True)
    total = _TOTAL_LINE.search(done.stdout)
    if total is None:
        raise RuntimeError(f"pg_waldump says nothing ({done.returncode}): {done.stderr}")
    return int(total[1]), int(total[2])


def _report(found: dict[int, Written]) -> Report:
    images = MEASURED_JOBS * JOB_IMAGES
    topics = sorted({topic for written in found.values() for topic in written.topics})
    lines = {_short(topic): [w.topics.get(topic, 0) for w in found.values()] for topic in topics}
    lines = {name: values for name, values in lines.items() if any(values)}
    lines["Kafka, all topics"] = [sum(w.topics.values()) for w in found.values()]
    lines["Postgres, records"] = [w.records for w in found.values()]
    lines["Postgres, full-page images"] = [w.page_images for w in found.values()]
    lines["Postgres, all WAL"] = [w.wal for w in found.values()]
    lines["Kafka + Postgres"] = [sum(w.topics.values()) + w.wal for w in found.values()]
    rows = tuple(_row(name, [value / images for value in values]) for name, values in lines.items())
    columns = ("bytes a photo", *(f"album of {size:,}" for size in found), "max/min", f"flat within {FLAT:.0f}×")
    notes = (
        f"{MEASURED_JOBS} jobs of {JOB_IMAGES} photos for each size, {JOBS_PER_SECOND:.0f} a second",
        "Kafka: growth of the segment files (*.log); Postgres: pg_wal_lsn_diff, split by pg_waldump",
        "a CHECKPOINT stands before each size, so that each page's first change writes the page: the worst case",
    )
    return Report("bytes: what one arriving photo writes", columns, rows, notes)


def _row(name: str, values: list[float]) -> tuple[Cell, ...]:
    if min(values) <= 0:
        return (name, *values, "–", "–")
    ratio = max(values) / min(values)
    return (name, *values, ratio, "yes" if ratio <= FLAT else "NO")


def _short(topic: str) -> str:
    """The topic without the run's own prefix."""
    return re.sub(r"^e[0-9a-f]{10}\.", "", topic)
