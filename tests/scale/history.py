"""Which pet's which job comes when, and the fact that embed would answer it with. Used by write.py.

Pets take turns in a random order, as uploads come; a pet's jobs are in order. A job brings ten photos in two bursts
(tests/bench/album.py), some of which show what belongs nowhere. Times are spread evenly over the days before `end`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from schemas.facts import ImagesEmbedded, JobContext
from schemas.headers import timestamp
from tables.vectors import quantize
from tests.albums import measured
from tests.bench.album import JOB_IMAGES, scenes
from tests.scale.vectors import DIMENSION, photo_vectors

MODEL: Final = "efficientnet-lite0@1"
DAYS: Final = 30
STRAY_PART: Final = 0.06
_STRAY_SCENES: Final = 1_000_000
"""Scenes from this number on have one photo each."""


@dataclass(frozen=True)
class Size:
    """`pets` albums of `images` photos each, and one of `big` more, unless that is 0; rounded down to whole jobs."""

    pets: int
    images: int
    big: int = 0

    @property
    def albums(self) -> list[int]:
        """Jobs of each pet."""
        return [self.images // JOB_IMAGES] * self.pets + [self.big // JOB_IMAGES] * (self.big > 0)

    @property
    def jobs(self) -> int:
        """Facts in all."""
        return sum(self.albums)

    @property
    def photos(self) -> int:
        """Images in all."""
        return self.jobs * JOB_IMAGES


@dataclass(frozen=True)
class Entry:
    """A fact of the log and when it happened."""

    pet_id: str
    fact: ImagesEmbedded
    time: datetime


def pet_name(number: int) -> str:
    """The nth pet's id; the big album is that of the last one."""
    return f"pet_{number:07}"


def history(size: Size, end: datetime, *, shard: int = 0, shards: int = 1) -> Iterator[Entry]:
    """The facts in order, of every `shards`th pet only; the same arguments give the same facts."""
    turns = np.repeat(np.arange(len(size.albums)), size.albums)
    np.random.default_rng(0).shuffle(turns)
    begun = [0] * len(size.albums)
    plans: dict[int, list[list[int]]] = {}
    for turn, pet in enumerate(turns.tolist()):
        if pet % shards != shard:
            continue
        plan = plans.setdefault(pet, _plan(pet, size.albums[pet]))
        job, begun[pet] = begun[pet], begun[pet] + 1
        if begun[pet] == len(plan):
            del plans[pet]
        yield _entry(pet, job, plan[job], end - timedelta(days=DAYS) * (1 - turn / len(turns)))


def further(size: Size, numbers: range, time: datetime) -> Iterator[Entry]:
    """The jobs that come after a history: the nth is one more of the nth pet, in another order of turns."""
    turns = np.random.default_rng(1).permutation(size.pets)
    for number in numbers:
        pet = int(turns[number % size.pets])
        job = size.albums[pet] + number // size.pets
        yield _entry(pet, job, _plan(pet, job + 1)[job], time)


def _plan(pet: int, jobs: int) -> list[list[int]]:
    """The scene of each photo of each job; a longer plan begins as a shorter one does."""
    random = np.random.default_rng(pet)
    plan = scenes(jobs, pet)
    for job, shown in enumerate(plan):
        for place in np.flatnonzero(random.random(len(shown)) < STRAY_PART).tolist():
            shown[place] = _STRAY_SCENES + job * JOB_IMAGES + place
    return plan


def _entry(pet: int, job: int, shown: list[int], time: datetime) -> Entry:
    pet_id = pet_name(pet)
    names = [f"{pet_id}_img_{job:05}_{place}" for place in range(len(shown))]
    vectors = [quantize(vector) for vector in photo_vectors(pet, job, shown)]
    digests = [hashlib.sha256(name.encode()).digest() for name in names]
    fact = ImagesEmbedded(
        job=JobContext(job_id=f"{pet_id}_job_{job:05}", reason="insights_ready", enqueued_at=timestamp(time)),
        model=MODEL,
        dimension=DIMENSION,
        device="cpu",
        images=tuple(map(measured, names, vectors, digests)),
    )
    return Entry(pet_id, fact, time)
