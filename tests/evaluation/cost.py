"""Evaluation `cost`: what an arriving photo costs at albums of 10 to 10,000, against clustering the album anew."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
MEASURED_JOBS: Final = 50
"""Of each size. Over several albums when they are small, so that none doubles while it is measured."""
_SECONDS: Final = 2.0


@dataclass
class _Samples:
    """Seconds a photo: of the jobs that come last, and of all jobs."""

    last: list[float] = field(default_factory=list)
    every: list[float] = field(default_factory=list)


def run(albums: Sequence[LabelledAlbum], policies: Mapping[str, Policy], progress: Progress) -> list[Report]:
    """Fold an album of each size with each engine; cluster the same vectors with DBSCAN in between."""
    task = progress.add_task("albums", total=len(SIZES) * (1 + len(policies)))
    rows: list[tuple[Cell, ...]] = []
    flat: dict[str, float] = {}
    for size in SIZES:
        further = max(1, min(MEASURED_JOBS, size // JOB_IMAGES // 2))
        photos = [_photos(size + further * JOB_IMAGES, seed) for seed in range(max(1, MEASURED_JOBS // further))]
        whole = _anew(photos[0][:size])
        progress.advance(task)
        for name, policy in policies.items():
            samples = _Samples()
            for album in photos:
                _fold(album, policy, further, samples)
            cost = statistics.median(samples.last)
            flat.setdefault(name, cost)
            if size == SIZES[1]:
                flat[name] = cost
            longest = max(samples.every) * JOB_IMAGES * 1e3
            every = statistics.fmean(samples.every)
            rows.append(
                (f"{size:,}", name, cost * 1e6, every * 1e6, longest, cost / flat[name], whole * 1e3, whole / cost)
            )
            progress.advance(task)
    heads = ("photos", "engine", "µs a photo", "mean µs", "longest job ms", "× at 100", "DBSCAN ms", "DBSCAN / photo")
    notes = (
        f"µs a photo: median over {MEASURED_JOBS} further jobs of {JOB_IMAGES}: decode, fold, encode; one BLAS thread",
        "mean, longest: over all jobs of the album from its first; DBSCAN: all the album anew, as each photo needs it",
    )
    return [Report("cost: an arriving photo by album size", heads, tuple(rows), notes)]


def _photos(count: int, seed: int) -> list[EmbeddedImage]:
    """An album as tests/scale makes them."""
    found = []
    for job, shots in enumerate(scenes(-(-count // JOB_IMAGES), seed)):
        for number, vector in enumerate(photo_vectors(seed, job, shots)):
            found.append(image(f"img_{job:06}_{number}", quantize(vector)))
    return found[:count]


def _fold(photos: Sequence[EmbeddedImage], policy: Policy, further: int, samples: _Samples) -> None:
    replay, times = LogReplay(0), []
    for offset, (key, value) in enumerate(engines.log(photos, policy, JOB_IMAGES)):
        started = time.perf_counter()
        replay.apply(offset, key, value)
        times.append((time.perf_counter() - started) / JOB_IMAGES)
    if replay.refused:
        raise RuntimeError(f"the fold refused {replay.refused[0]}")
    samples.last += times[-further:]
    samples.every += times[1:]


def _anew(photos: Sequence[EmbeddedImage]) -> float:
    """Seconds of DBSCAN on the album as the predecessor ran it, the best of what fits into a moment."""
    units = np.stack([np.frombuffer(photo.vector, "<i2") for photo in photos]) / SCALE
    times: list[float] = []
    while not times or (sum(times) < _SECONDS and len(times) < MEASURED_JOBS):
        started = time.perf_counter()
        DBSCAN(eps=OLD_EPS, min_samples=2, metric="cosine").fit(units)
        times.append(time.perf_counter() - started)
    return min(times)
