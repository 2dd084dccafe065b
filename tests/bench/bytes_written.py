"""Benchmark `bytes`: what an arriving job writes, by topic and in Postgres, at albums of 10 to 10,000 photos.

The whole service runs, with the constant-time embedder. The albums come as facts straight into the log, as the embed
role would write them (tests/bench/grown_albums.py). Then every album gets one job more, over the whole way from XADD,
and what the stores hold more is divided by its photos; and one more again, to see Postgres without the checkpoint.

    Kafka      bytes of all segment files (*.log) of a topic in the broker's data folder; nothing is compressed, and
               the log cleaner touches only closed segments, so that they hold every byte that was appended
    Postgres   pg_wal_lsn_diff. Before the first job there is a CHECKPOINT, after which the first change of a page logs
               the whole page; pg_waldump tells records from such full-page images
    rows       pg_stat_user_tables: inserted, updated and deleted, of all tables
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

ALBUMS: Final = {10: 40, 100: 40, 1_000: 40, 10_000: 10}
"""Photos → albums of so many. Postgres' full-page images follow the pages touched, hence the pets."""
JOBS_PER_SECOND: Final = 10.0
FLAT: Final = 1.5
_QUIET_SECONDS: Final = 2.5
"""Longer than the intervals of commits and of the projector's bookkeeping (1 s)."""
_DEADLINE_SECONDS: Final = 180.0
_BUILD_SECONDS: Final = 1_800.0
_TOTAL_LINE: Final = re.compile(r"^Total\s+\d+\s+(\d+)\s+\[\S+?\]\s+(\d+)\s+\[\S+?\]", re.MULTILINE)

_CONTROLLER: Final = "__cluster_metadata"
"""The controller's own log; it grows by a heartbeat twice a second, whether anything happens or not."""


@dataclass(frozen=True)
class Written:
    """Bytes of one further job of each album of a size. `records`, `page_images`: how pg_waldump splits `wal`.
    `rows`: inserted, updated, deleted.
    """

    topics: dict[str, int]
    wal: int
    records: int
    page_images: int
    rows: Counter[str]


def run(console: Console) -> list[Report]:
    """Build the albums, then measure one further job of each, size by size."""
    with rig({"EMBEDDING_CONSTANT_TIME_MS": "0"}) as bench, Progress(console=console, transient=True) as progress:
        bench.service.start()
        return asyncio.run(_measure_all(bench, progress))


async def _measure_all(bench: Rig, progress: Progress) -> list[Report]:
    albums = {
        size: [GrownAlbum(f"pet_{size:05}_{n:03}", _jobs(size, n, pets), n) for n in range(pets)]
        for size, pets in ALBUMS.items()
    }
    database = await asyncpg.connect(bench.service.database_url)
    try:
        total = sum(album.jobs for same in albums.values() for album in same)
        task = progress.add_task(f"{sum(map(len, albums.values()))} albums", total=total)
        for same in albums.values():
            facts = itertools.chain.from_iterable(album.entries() for album in same)
            await write_facts(bench.service.bootstrap_servers, bench.service.topics, facts)
        done = functools.partial(progress.update, task)
        await _until_succeeded(bench, database, total, lambda jobs: done(completed=jobs), within=_BUILD_SECONDS)
        await _vacuum(database)
        found: dict[int, list[Written]] = {}
        for size, same in albums.items():
            task = progress.add_task(f"further jobs at {size:,}", total=len(same) * FURTHER_JOBS)
            advance = functools.partial(progress.advance, task)
            await _quiet(bench, database)
            await database.execute("CHECKPOINT")
            found[size] = [await _measure(bench, database, same, job, advance) for job in range(FURTHER_JOBS)]
    finally:
        await database.close()
    return [_report(found), _row_report(found)]


def _jobs(size: int, number: int, pets: int) -> int:
    """Jobs that build an album of about `size`: spread by a fifth to each side, since the head is a saw-tooth."""
    return max(1, round(size / JOB_IMAGES * (0.8 + 0.4 * number / (pets - 1))))


async def _measure(
    bench: Rig, database: Any, albums: list[GrownAlbum], number: int, advance: Callable[[], None]
) -> Written:
    jobs = [(album.pet_id, *album.further_job(number, bench.images)) for album in albums]
    succeeded = await _succeeded(database)
    rows, lsn, before = await _rows(database), await _lsn(database), topic_bytes(bench.kafka.data_dir)
    for pet_id, job_id, image_ids in jobs:
        bench.service.publish(pet_id, job_id, image_ids)
        advance()
        await asyncio.sleep(1 / JOBS_PER_SECOND)
    await _until_succeeded(bench, database, succeeded + len(jobs))
    await _quiet(bench, database)
    end, after = await _lsn(database), topic_bytes(bench.kafka.data_dir)
    wal = int(await database.fetchval("SELECT pg_wal_lsn_diff($1::text::pg_lsn, $2::text::pg_lsn)", end, lsn))
    records, page_images = _split_wal(bench.postgres.data_dir, lsn, end)
    grown = {topic: after[topic] - before.get(topic, 0) for topic in after}
    return Written(grown, wal, records, page_images, await _rows(database) - rows)


async def _vacuum(database: Any) -> None:
    """Tidy up after the building, and keep autovacuum, which would come at a moment of its own, out of the figures."""
    await database.execute("ALTER SYSTEM SET autovacuum = off")
    await database.execute("SELECT pg_reload_conf()")
    await database.execute("VACUUM (FREEZE, ANALYZE)")


async def _until_succeeded(
    bench: Rig,
    database: Any,
    jobs: int,
    tell: Callable[[int], None] = lambda done: None,
    within: float = _DEADLINE_SECONDS,
) -> None:
    """Wait until so many jobs have succeeded in all."""
    deadline = time.monotonic() + within
    while (done := await _succeeded(database)) < jobs:
        tell(done)
        alive(bench.service)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{done} of {jobs} jobs have succeeded after {within:.0f} s")
        await asyncio.sleep(0.2)
    tell(done)


async def _succeeded(database: Any) -> int:
    return int(await database.fetchval("SELECT count(*) FROM cluster_jobs WHERE status = 'succeeded'"))


async def _rows(database: Any) -> Counter[str]:
    """Rows that were inserted, updated and deleted so far."""
    row = await database.fetchrow(
        "SELECT sum(n_tup_ins)::bigint AS inserted, sum(n_tup_upd)::bigint AS updated,"
        " sum(n_tup_del)::bigint AS deleted FROM pg_stat_user_tables"
    )
    return Counter(dict(row))


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
    images = [ALBUMS[size] * JOB_IMAGES for size in found]
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
    rows = tuple(_row(name, _each(values, images)) for name, values in lines.items())
    notes = (
        f"{' / '.join(map(str, ALBUMS.values()))} albums, {FURTHER_JOBS} jobs of {JOB_IMAGES} photos each for all,"
        f" {JOBS_PER_SECOND:.0f} jobs a second",
        "Kafka: growth of the segment files (*.log), 1st job; Postgres: pg_wal_lsn_diff, split by pg_waldump",
        "autovacuum is off; before the 1st job a CHECKPOINT: each page's first change after it logs the whole page",
    )
    return Report("bytes: what one arriving photo writes", _columns("bytes a photo"), rows, notes)


def _row_report(found: dict[int, list[Written]]) -> Report:
    jobs = [ALBUMS[size] * FURTHER_JOBS for size in found]
    sums = [sum((each.rows for each in written), Counter[str]()) for written in found.values()]
    lines = {f"rows {what}": [each[what] for each in sums] for what in ("inserted", "updated", "deleted")}
    lines["rows written"] = [each.total() for each in sums]
    rows = tuple(_row(name, _each(values, jobs)) for name, values in lines.items())
    notes = (f"of both further jobs, {JOB_IMAGES} photos each; pg_stat_user_tables, all tables",)
    return Report("rows: what one arriving job writes in Postgres", _columns("rows a job"), rows, notes)


def _columns(unit: str) -> tuple[str, ...]:
    return (unit, *(f"album of {size:,}" for size in ALBUMS), "max/min", f"flat within {FLAT}×")


def _each(values: list[int], counts: list[int]) -> list[float]:
    return [value / count for value, count in zip(values, counts, strict=True)]


def _row(name: str, values: list[float]) -> tuple[Cell, ...]:
    if min(values) <= 0:
        return (name, *values, "–", "–")
    ratio = max(values) / min(values)
    return (name, *values, ratio, "yes" if ratio <= FLAT else "NO")


def _short(topic: str) -> str:
    """The topic without the run's own prefix."""
    return re.sub(r"^e[0-9a-f]{10}\.", "", topic)
