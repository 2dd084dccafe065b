"""Benchmark `fold`: what the pure fold costs an image at albums of 10 to 10,000, and how large the head gets.

The floor is one matrix-vector product with the album's directions, timed between the jobs.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import Progress

from schemas.codec import encode_fact
from tables.replay import LogReplay
from tables.rows import head_key
from tables.store import PetStore
from tests.albums import Directions, embedded, image
from tests.bench.album import JOB_IMAGES, scenes
from tests.bench.report import Report

ALBUMS: Final = (10, 100, 1_000, 10_000)
MEASURED_JOBS: Final = 50
"""Of each size. Over several albums when they are small, so that none doubles while it is measured."""
DIMENSION: Final = 1280
HEAD_LIMIT: Final = 64 * 1024
_PET: Final = "pet_0123456789"
_TIME: Final = "2026-11-21T00:00:00.000000+00:00"
_MICRO: Final = 1e6


def run(console: Console) -> list[Report]:
    """Fold an album, then time further jobs, for each size."""
    with Progress(console=console, transient=True) as progress:
        rows = tuple(_measure(size, progress) for size in ALBUMS)
    columns = ("photos", "components", "fold µs/photo", "product µs", "ratio", "ms after a miss", "head B", "≤ 64 KB")
    notes = (
        f"fold: median over {MEASURED_JOBS} further jobs of {JOB_IMAGES} photos: decode, fold, encode; one BLAS thread",
        f"product: components × {DIMENSION} float64 by one vector; the engine takes one or two a photo",
        "ms after a miss: one job when the pet is not decoded, as after a rebalance",
        "head: the largest of the measured jobs",
    )
    return [Report("fold: cost of a photo by album size", columns, rows, notes)]


@dataclass
class _Samples:
    """Of the measured jobs of one album size: seconds a photo, seconds of a product, bytes of the head, components."""

    folds: list[float] = field(default_factory=list)
    products: list[float] = field(default_factory=list)
    misses: list[float] = field(default_factory=list)
    heads: list[int] = field(default_factory=list)
    components: int = 0


def _measure(size: int, progress: Progress) -> tuple[str | int | float, ...]:
    further = max(1, min(MEASURED_JOBS, size // JOB_IMAGES // 2))
    albums = MEASURED_JOBS // further
    samples = _Samples()
    task = progress.add_task(f"albums of {size:,}", total=albums)
    for seed in range(albums):
        _fold_album(_log(size // JOB_IMAGES + further + 1, seed), further, samples)
        progress.advance(task)
    fold, product = statistics.median(samples.folds) * _MICRO, statistics.median(samples.products) * _MICRO
    miss, head = statistics.median(samples.misses) * 1000, max(samples.heads)
    return size, samples.components, fold, product, fold / product, miss, head, "yes" if head <= HEAD_LIMIT else "NO"


def _fold_album(log: list[tuple[bytes, bytes]], further: int, samples: _Samples) -> None:
    """Fold a log. Its last job is timed with the pet not decoded, the `further` ones before it as they come."""
    replay = LogReplay(0)
    *warm, cold = range(len(log))
    vector = np.random.default_rng(0).normal(size=DIMENSION)
    for offset in warm:
        started = time.perf_counter()
        replay.apply(offset, *log[offset])
        took = time.perf_counter() - started
        if offset >= len(warm) - further:
            samples.components = len(replay.store.pet(_PET).mixture)
            samples.folds.append(took / JOB_IMAGES)
            samples.products.append(_product(samples.components, vector))
            samples.heads.append(len(replay.rows[head_key(_PET)]))
    replay.store = PetStore(replay.rows.get)
    started = time.perf_counter()
    replay.apply(cold, *log[cold])
    samples.misses.append(time.perf_counter() - started)
    if replay.refused:
        raise RuntimeError(f"the fold refused {replay.refused[0]}")


def _log(jobs: int, seed: int) -> list[tuple[bytes, bytes]]:
    """The log of an album: one fact a job, photos of a scene with a cosine of about .8 to each other."""
    directions = Directions(seed, DIMENSION)
    plan = scenes(jobs, seed)
    seen = [directions.new() for _ in range(1 + max(max(job) for job in plan))]
    log = []
    for job, shots in enumerate(plan):
        photos = [image(f"img_{job:06}_{n}", directions.near(seen[scene])) for n, scene in enumerate(shots)]
        fact = msgspec.structs.replace(embedded(photos, job_id=f"job_{job:08}"), dimension=DIMENSION)
        log.append((_PET.encode(), encode_fact(fact, event_id=f"e{job}", time=_TIME, pet_id=_PET)))
    return log


def _product(components: int, vector: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    """Seconds of one matrix-vector product of the album's shape, the best of five: others' work only adds."""
    matrix = np.ones((components, DIMENSION))
    times = []
    for _ in range(5):
        started = time.perf_counter()
        matrix @ vector
        times.append(time.perf_counter() - started)
    return min(times)
