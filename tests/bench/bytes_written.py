"""Benchmark `bytes`: what one arriving photo writes, by topic and in Postgres, at albums of 10, 100 and 1,000 photos.

The whole service runs, with the constant-time embedder. The albums come as facts straight into the log, as the embed
role would write them (tests/bench/grown_albums.py). Then every album gets one job more, over the whole way from XADD,
and what the stores hold more is divided by its photos; and one more again, to see Postgres without the checkpoint.

    Kafka      bytes of all segment files (*.log) of a topic in the broker's data folder; nothing is compressed, and
               the log cleaner touches only closed segments, so that they hold every byte that was appended
    Postgres   pg_wal_lsn_diff. Before the first job there is a CHECKPOINT, after which the first change of a page logs
               the whole page; pg_waldump tells records from such full-page images
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
from rich.console import Console
from rich.progress import Progress

from app.local.postgres import binaries
from tests.bench.album import JOB_IMAGES
from tests.bench.grown_albums import FURTHER_JOBS, GrownAlbum
from tests.bench.report import Cell, Report
from tests.bench.rig import Rig, alive, rig
from tests.scale.write import write_facts

ALBUMS: Final = (10, 100, 1_000)
PETS: Final = 40
"""Albums of each size, as many for each: Postgres' full-page images follow the pages touched, hence the pets."""
JOBS_PER_SECOND: Final = 10.0
FLAT: Final = 2.0
_QUIET_SECONDS: Final = 2.5
"""Longer than the intervals of commits and of the projector's bookkeeping (1 s)."""
_DEADLINE_SECONDS: Final = 180.0
_TOTAL_LINE: Final = re.compile(r"^Total\s+\d+\s+(\d+)\s+\[\S+?\]\s+(\d+)\s+\[\S+?\]", re.MULTILINE)

_CONTROLLER: Final = "__cluster_metadata"
"""The controller's own log; it grows by a heartbeat twice a second, whether anything happens or not."""


@dataclass(frozen=True)
class Written:
    """Bytes of one further job of each album of a size. `records`, `page_images`: how pg_waldump splits `wal`."""

    topics: dict[str, int]
    wal: int
    records: int
    page_images: int


def run(console: Console) -> list[Report]:
    """Build the albums, then measure one further job of each, size by size."""
    with rig({"EMBEDDING_CONSTANT_TIME_MS": "0"}) as bench, Progress(console=console, transient=True) as progress:
        bench.service.start()
        return asyncio.run(_measure_all(bench, progress))


async def _measure_all(bench: Rig, progress: Progress) -> list[Report]:
    albums = {size: [GrownAlbum(f"pet_{size:05}_{n:03}", _jobs(size, n), n) for n in range(PETS)] for size in ALBUMS}
    database = await asyncpg.connect(bench.service.database_url)
    try:
        total = sum(album.jobs for same in albums.values() for album in same)
        task = progress.add_task(f"{sum(map(len, albums.values()))} albums", total=total)
        for same in albums.values():
            facts = itertools.chain.from_iterable(album.entries() for album in same)
            await write_facts(bench.service.bootstrap_servers, bench.service.topics, facts)
        await _until_succeeded(bench, database, total, lambda done: progress.update(task, completed=done))
        await _vacuum(database)
        found: dict[int, list[Written]] = {}
        for size, same in albums.items():
            task = progress.add_task(f"further jobs at {size:,}", total=PETS * FURTHER_JOBS)
            advance = functools.partial(progress.advance, task)
            await _quiet(bench, database)
            await database.execute("CHECKPOINT")
            found[size] = [await _measure(bench, database, same, job, advance) for job in range(FURTHER_JOBS)]
    finally:
        await database.close()
    return [_report(found)]


def _jobs(size: int, number: int) -> int:
    """Jobs that build an album of about `size`: spread by a fifth to each side, since the head is a saw-tooth."""
    return max(1, round(size / JOB_IMAGES * (0.8 + 0.4 * number / (PETS - 1))))


async def _measure(
    bench: Rig, database: Any, albums: list[GrownAlbum], number: int, advance: Callable[[], None]
) -> Written:
    jobs = [(album.pet_id, *album.further_job(number, bench.images)) for album in albums]
    succeeded = await _succeeded(database)
    lsn, before = await _lsn(database), topic_bytes(bench.kafka.data_dir)
    for pet_id, job_id, image_ids in jobs:
        bench.service.publish(pet_id, job_id, image_ids)
        advance()
        await asyncio.sleep(1 / JOBS_PER_SECOND)
    await _until_succeeded(bench, database, succeeded + len(jobs))
    await _quiet(bench, database)
    end, after = await _lsn(database), topic_bytes(bench.kafka.data_dir)
    wal = int(await database.fetchval("SELECT pg_wal_lsn_diff($1::text::pg_lsn, $2::text::pg_lsn)", end, lsn))
    records, page_images = _split_wal(bench.postgres.data_dir, lsn, end)
    return Written({topic: after[topic] - before.get(topic, 0) for topic in after}, wal, records, page_images)


async def _vacuum(database: Any) -> None:
    """Tidy up after the building, and keep autovacuum, which would come at a moment of its own, out of the figures."""
    await database.execute("ALTER SYSTEM SET autovacuum = off")
    await database.execute("SELECT pg_reload_conf()")
    await database.execute("VACUUM (FREEZE, ANALYZE)")


async def _until_succeeded(
    bench: Rig, database: Any, jobs: int, tell: Callable[[int], None] = lambda done: None
) -> None:
    """Wait until so many jobs have succeeded in all."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while (done := await _succeeded(database)) < jobs:
        tell(done)
        alive(bench.service)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{done} of {jobs} jobs have succeeded after {_DEADLINE_SECONDS:.0f} s")
        await asyncio.sleep(0.2)
    tell(done)


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
    """Bytes of each topic in the data folder of a one-node Kafka, the groups' offsets among them."""
    sizes: Counter[str] = Counter()
    for segment in (data_dir / "data").glob("*-*/*.log"):
        topic = segment.parent.name.rpartition("-")[0]
        if topic != _CONTROLLER:
            sizes[topic] += segment.stat().st_size
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


def _report(found: dict[int, list[Written]]) -> Report:
    images = PETS * JOB_IMAGES
    first, second = [jobs[0] for jobs in found.values()], [jobs[1] for jobs in found.values()]
    lines = {_short(topic): [w.topics.get(topic, 0) for w in first] for w in first for topic in sorted(w.topics)}
    lines = {name: values for name, values in lines.items() if any(values)}
    lines["Kafka, all topics"] = [sum(w.topics.values()) for w in first]
    lines["Postgres, records"] = [w.records for w in first]
    lines["Postgres, full-page images"] = [w.page_images for w in first]
    lines["Postgres, WAL of the 1st job"] = [w.wal for w in first]
    lines["Postgres, WAL of the 2nd job"] = [w.wal for w in second]
    lines["Kafka + Postgres, 1st job"] = [sum(w.topics.values()) + w.wal for w in first]
    lines["Kafka + Postgres, 2nd job"] = [sum(w.topics.values()) + w.wal for w in second]
    rows = tuple(_row(name, [value / images for value in values]) for name, values in lines.items())
    columns = ("bytes a photo", *(f"album of {size:,}" for size in found), "max/min", f"flat within {FLAT:.0f}×")
    notes = (
        f"{PETS} albums of each size, {FURTHER_JOBS} jobs of {JOB_IMAGES} photos each, {JOBS_PER_SECOND:.0f} a second",
        "Kafka: growth of the segment files (*.log), 1st job; Postgres: pg_wal_lsn_diff, split by pg_waldump",
        "autovacuum is off; before the 1st job a CHECKPOINT: each page's first change after it logs the whole page",
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
