"""Benchmark `latency`: from XADD until the new answer can be read, at 10 jobs a second, against the floor.

The whole service runs, with an embedder that takes no time of its own. The floor (tests/bench/floor.py) is sampled at
random moments between the jobs, so that both see the same machine; once more before and after, without load.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress

from schemas.codec import decode_fact, decode_version
from schemas.commands import decode_command
from schemas.facts import ImagesEmbedded
from tests.bench.floor import HOPS, Floor, FloorSample, open_floor
from tests.bench.load import JobTimes, Load
from tests.bench.report import Quantiles, Report
from tests.bench.rig import Rig, rig
from tests.e2e.kafka_log import Keys, read_topic
from tests.photos import SKIMAGE, SKLEARN, photo

JOBS_PER_SECOND: Final = 10.0
WARM_UP: Final = 100
IDLE_SAMPLES: Final = 300
"""Before the load and as many after it."""
IDLE_PER_SECOND: Final = 50.0
PETS: Final = 60
_SHOT_SIDE: Final = 480
_ANSWER: Final = 2_500


@dataclass(frozen=True)
class Shape:
    """A load: how many jobs, of how many photos each. `payloads`: about the bytes of the messages that follow."""

    jobs: int
    images_per_job: int
    payloads: dict[str, int]


SHAPES: Final = (
    Shape(600, 1, {"jobs": 500, "pet-log": 3_100, "pet-versions": 500}),
    Shape(500, 4, {"jobs": 600, "pet-log": 11_500, "pet-versions": 900}),
)


def run(console: Console) -> list[Report]:
    """Measure each shape for about a minute and a half."""
    with rig({"EMBEDDING_CONSTANT_TIME_MS": "0"}) as bench, Progress(console=console, transient=True) as progress:
        image_ids = _shots(bench.images, max(_versions(shape) * shape.images_per_job for shape in SHAPES))
        bench.service.start()
        return [report for shape in SHAPES for report in asyncio.run(_measure(bench, shape, image_ids, progress))]


def _versions(shape: Shape) -> int:
    """How many jobs the pet with the most gets."""
    return -(-(WARM_UP + shape.jobs) // PETS)


async def _measure(bench: Rig, shape: Shape, image_ids: list[str], progress: Progress) -> list[Report]:
    service = bench.service
    pets = [f"pet_{shape.images_per_job}_{number:08}" for number in range(PETS)]
    floor_at = {
        "bootstrap_servers": service.bootstrap_servers,
        "database_url": service.database_url,
        "redis_url": service.redis_url,
    }
    async with (
        open_floor(**floor_at, payloads=shape.payloads, answer=_ANSWER) as floor,
        Load(service, pets, image_ids, shape.images_per_job, seed=1) as load,
    ):
        task = progress.add_task(f"warm-up, jobs of {shape.images_per_job}", total=WARM_UP)
        await load.run(WARM_UP, JOBS_PER_SECOND, lambda: progress.advance(task))
        await _sample(floor, WARM_UP, IDLE_PER_SECOND)
        idle = await _sample(floor, IDLE_SAMPLES, IDLE_PER_SECOND)
        jobs_task = progress.add_task(f"{JOBS_PER_SECOND:.0f} jobs a second", total=shape.jobs)
        beside, jobs = await asyncio.gather(
            _sample(floor, shape.jobs, JOBS_PER_SECOND),
            load.run(shape.jobs, JOBS_PER_SECOND, lambda: progress.advance(jobs_task)),
        )
        idle += await _sample(floor, IDLE_SAMPLES, IDLE_PER_SECOND)
    return [_against_floor(shape, jobs, beside, idle), await _stages(bench, shape, jobs), _parts(shape, beside, idle)]


async def _sample(floor: Floor, count: int, per_second: float) -> list[FloorSample]:
    moments, samples = random.Random(count), []
    for _ in range(count):
        await asyncio.sleep(moments.expovariate(per_second))
        samples.append(await floor.sample())
    return samples


def _shots(folder: Path, count: int) -> list[str]:
    """Crops of the bundled photographs as small JPEGs; pets may share them, since an image id counts within a pet."""
    moments, image_ids = random.Random(0), []
    for number, name in zip(range(count), itertools.cycle(SKIMAGE + SKLEARN), strict=False):
        picture = photo(name)
        width, height = (int(side * moments.uniform(0.8, 0.97)) for side in picture.size)
        left, top = moments.randint(0, picture.width - width), moments.randint(0, picture.height - height)
        shot = picture.crop((left, top, left + width, top + height))
        shot.thumbnail((_SHOT_SIDE, _SHOT_SIDE))
        image_ids.append(f"img_{number:010}")
        shot.save(folder / f"{image_ids[-1]}.jpg", quality=80)
    return image_ids


def _against_floor(shape: Shape, jobs: list[JobTimes], beside: list[FloorSample], idle: list[FloorSample]) -> Report:
    cached = _milliseconds(job.cached - job.published for job in jobs)
    answered = _milliseconds(job.answered - job.published for job in jobs)
    loaded = _milliseconds(sample.total for sample in beside)
    alone = _milliseconds(sample.total for sample in idle)
    rows = (
        _row("XADD → answer in the cache", cached),
        _row("XADD → GET shows it", answered),
        _row("floor, between the jobs", loaded),
        _row("floor, without load", alone),
    )
    ratios = (
        ("ratio to the floor between the jobs", "", cached.p50 / loaded.p50, "", cached.p99 / loaded.p99),
        ("ratio to the floor without load", "", cached.p50 / alone.p50, "", cached.p99 / alone.p99),
    )
    notes = (
        f"{JOBS_PER_SECOND:.0f} jobs a second at random moments, {_photos(shape)} ({_SHOT_SIDE} pixels, JPEG), "
        f"{PETS} pets, constant-time embedder (0 ms), after {WARM_UP} jobs to warm up",
        "in the cache: Redis reports the SET, then the new version has been read; polls nothing",
        "floor: 3 Kafka hops (produce acks=all → consumed), one Postgres commit, one Redis SET, in sequence",
    )
    return Report(
        f"latency: XADD → readable, ms, {_photos(shape)}", ("", "samples", "p50", "p90", "p99"), rows + ratios, notes
    )


def _parts(shape: Shape, beside: list[FloorSample], idle: list[FloorSample]) -> Report:
    takes: list[tuple[str, Callable[[FloorSample], float]]] = [
        *((f"Kafka hop, {hop}", lambda sample, n=number: sample.hops[n]) for number, hop in enumerate(HOPS)),
        ("Postgres commit", lambda sample: sample.commit),
        ("Redis SET", lambda sample: sample.set),
    ]
    rows = []
    for name, take in takes:
        loaded, alone = _milliseconds(map(take, beside)), _milliseconds(map(take, idle))
        rows.append((name, loaded.p50, loaded.p99, alone.p50, alone.p99))
    columns = ("", "p50 between jobs", "p99 between jobs", "p50 without load", "p99 without load")
    return Report(f"latency: the floor's parts, ms, {_photos(shape)}", columns, tuple(rows))


async def _stages(bench: Rig, shape: Shape, jobs: list[JobTimes]) -> Report:
    """Where the time goes, by the time stamps that the producers gave their records (whole milliseconds)."""
    service, topics = bench.service, bench.service.topics
    relayed = await _stamps(service.bootstrap_servers, topics.jobs.name, lambda raw: decode_command(raw).job_id)
    embedded = await _stamps(service.bootstrap_servers, topics.pet_log.name, _job_of_fact)
    folded = await _stamps(service.bootstrap_servers, topics.pet_versions.name, lambda raw: decode_version(raw).job_id)
    stages: dict[str, list[float]] = {}
    for job in jobs:
        marks = [job.published_at, relayed[job.job_id], embedded[job.job_id], folded[job.job_id]]
        marks.append(job.published_at + job.cached - job.published)
        names = (
            "bridge: XADD → jobs",
            "embed: jobs → pet-log",
            "fold: pet-log → versions",
            "project: versions → cache",
        )
        for name, (start, end) in zip(names, itertools.pairwise(marks), strict=True):
            stages.setdefault(name, []).append(end - start)
    rows = tuple(_row(name, _milliseconds(values)) for name, values in stages.items())
    notes = (
        "from the moment before XADD, then between the time stamps of the records that each role produced",
        "embed: fetch, decode, quality and hash of the photos, up to 5 ms of waiting for a batch",
    )
    return Report(
        f"latency: where the time goes, ms, {_photos(shape)}", ("", "samples", "p50", "p90", "p99"), rows, notes
    )


async def _stamps(bootstrap_servers: str, topic: str, job_of: Callable[[bytes], str]) -> dict[str, float]:
    """Job id → when its first record in the topic was produced, Unix time."""
    stamps: dict[str, float] = {}
    for record in await read_topic(bootstrap_servers, topic):
        stamps.setdefault(job_of(record.value), record.timestamp / 1000)
    return stamps


def _job_of_fact(raw: bytes) -> str:
    fact: Any = decode_fact(raw, Keys())[1]
    return str(fact.job.job_id) if isinstance(fact, ImagesEmbedded) else ""


def _photos(shape: Shape) -> str:
    return f"{shape.images_per_job} photo{'' if shape.images_per_job == 1 else 's'} a job"


def _milliseconds(seconds: Iterable[float]) -> Quantiles:
    return Quantiles.of([1000 * value for value in seconds])


def _row(name: str, quantiles: Quantiles) -> tuple[str, int, float, float, float]:
    return name, quantiles.count, quantiles.p50, quantiles.p90, quantiles.p99
