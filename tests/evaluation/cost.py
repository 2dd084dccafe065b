"""Evaluation `cost`: what an arriving photo costs at albums of 10 to 10,000, against clustering the album anew.

Times are the processor's, of the one thread that works: others' work on the machine hardly moves them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from rich.progress import Progress
from sklearn.cluster import DBSCAN

from schemas.facts import EmbeddedImage, Policy
from tables.replay import LogReplay
from tables.vectors import SCALE, quantize
from tests.albums import image
from tests.bench.album import JOB_IMAGES, scenes
from tests.bench.report import Cell, Report
from tests.evaluation import engines
from tests.evaluation.cache import LabelledAlbum
from tests.evaluation.methods import OLD_EPS
from tests.scale.vectors import photo_vectors

SIZES: Final = (10, 100, 1_000, 10_000)
FLAT_SINCE: Final = 100
MEASURED_JOBS: Final = 50
"""Of each size. Over several albums when they are small, so that none doubles while it is measured."""
_SECONDS: Final = 2.0


@dataclass(frozen=True)
class _Cost:
    """Seconds: of one of the last photos, the median; of any photo, the mean; of the longest job; of DBSCAN."""

    photo: float
    mean: float
    longest: float
    anew: float


def run(albums: Sequence[LabelledAlbum], policies: Mapping[str, Policy], progress: Progress) -> list[Report]:
    """Fold an album of each size with each engine; cluster the same vectors with DBSCAN in between."""
    task = progress.add_task("albums", total=len(SIZES) * len(policies))
    costs: dict[tuple[int, str], _Cost] = {}
    for size in SIZES:
        further = max(1, min(MEASURED_JOBS, size // JOB_IMAGES // 2))
        photos = [_photos(size + further * JOB_IMAGES, seed) for seed in range(max(1, MEASURED_JOBS // further))]
        anew = _anew(photos[0][:size])
        for name, policy in policies.items():
            costs[size, name] = _cost(photos, policy, further, anew)
            progress.advance(task)
    rows = tuple(_row(size, name, cost, costs[FLAT_SINCE, name]) for (size, name), cost in costs.items())
    heads = ("photos", "engine", "µs a photo", "mean µs", "longest job ms", "× at 100", "DBSCAN ms", "DBSCAN / photo")
    notes = (
        f"µs a photo: median over {MEASURED_JOBS} further jobs of {JOB_IMAGES}: decode, fold, encode",
        "mean, longest: over all jobs of the album from its first; DBSCAN: all the album anew, as each photo needs it",
        "processor time of one thread, BLAS included",
    )
    return [Report("cost: an arriving photo by album size", heads, rows, notes)]


def _row(size: int, name: str, cost: _Cost, flat: _Cost) -> tuple[Cell, ...]:
    times = (cost.photo * 1e6, cost.mean * 1e6, cost.longest * 1e3, cost.photo / flat.photo)
    return f"{size:,}", name, *times, cost.anew * 1e3, cost.anew / cost.photo


def _photos(count: int, seed: int) -> list[EmbeddedImage]:
    """An album as tests/scale makes them."""
    found = []
    for job, shots in enumerate(scenes(-(-count // JOB_IMAGES), seed)):
        for number, vector in enumerate(photo_vectors(seed, job, shots)):
            found.append(image(f"img_{job:06}_{number}", quantize(vector)))
    return found[:count]


def _cost(albums: Sequence[Sequence[EmbeddedImage]], policy: Policy, further: int, anew: float) -> _Cost:
    """Of all albums together; the last `further` jobs of each are those of its size."""
    last: list[float] = []
    every: list[float] = []
    for photos in albums:
        jobs = _seconds(photos, policy)
        last += jobs[-further:]
        every += jobs
    return _Cost(statistics.median(last) / JOB_IMAGES, statistics.fmean(every) / JOB_IMAGES, max(every), anew)


def _seconds(photos: Sequence[EmbeddedImage], policy: Policy) -> list[float]:
    """Seconds of each job of an album."""
    replay, times = LogReplay(0), []
    for offset, (key, value) in enumerate(engines.log(photos, policy, JOB_IMAGES)):
        started = time.thread_time()
        replay.apply(offset, key, value)
        times.append(time.thread_time() - started)
    if replay.refused:
        raise RuntimeError(f"the fold refused {replay.refused[0]}")
    return times[1:]  # the first record is the policy


def _anew(photos: Sequence[EmbeddedImage]) -> float:
    """Seconds of DBSCAN on the album as the predecessor ran it, the best of what fits into a moment."""
    units = np.stack([np.frombuffer(photo.vector, "<i2") for photo in photos]) / SCALE
    times: list[float] = []
    while not times or (sum(times) < _SECONDS and len(times) < MEASURED_JOBS):
        started = time.thread_time()
        DBSCAN(eps=OLD_EPS, min_samples=2, metric="cosine").fit(units)
        times.append(time.thread_time() - started)
    return min(times)
