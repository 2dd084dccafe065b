"""Fills a development database with sample pets. Called by `python -m app seed`.

Made-up vectors become facts, facts go through the fold, and what it sends is written as the projector writes it; no
Kafka, no Redis, no photos. The pets are in no log: a rebuild of the projection leaves them out, `verify` counts them
apart.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import numpy as np

from projections.jobs import RecordedCommand, record_commands, record_statuses
from projections.made_up import MODEL, pet_name
from projections.postgres import Applied, apply_version
from projections.queries import load
from schemas.codec import decode_version, encode_fact
from schemas.commands import EmbedImages
from schemas.errors import StopProcess
from schemas.facts import EmbeddedImage, FailedImage, ImagesEmbedded, JobContext, Quality
from schemas.headers import timestamp
from schemas.ids import message_id
from schemas.public import JobStatus
from schemas.versions import PetVersion
from tables.replay import LogReplay
from tables.vectors import Floats, quantize

DIMENSION: Final = 64
START: Final = datetime(2026, 1, 1, 9, tzinfo=UTC)
SUBJECTS: Final = ("Sofa", "Garden", "Sleeping")
SPREAD: Final = 0.5
"""Of a photo around its subject's direction: a cosine of about 0.9 to it."""
PARTITION: Final = 0

_status = msgspec.json.Decoder(JobStatus)


@dataclass(frozen=True, slots=True)
class Sample:
    """One job of a pet, and what the fold made of it."""

    command: EmbedImages
    at: datetime
    version: PetVersion
    statuses: tuple[JobStatus, ...]


@dataclass(frozen=True, slots=True)
class Seeded:
    """`written`: versions that are new. `present`: versions that were there already."""

    written: int
    present: int


async def seed(pool: Any, *, pets: int, versions: int) -> Seeded:
    """Write the samples of ``seed-pet-1`` … A repeat changes nothing; more versions go on from those that are there.

    Raises StopProcess when a pet of that name has versions of another origin.
    """
    written = present = 0
    for number in range(1, pets + 1):
        model = await pool.fetchval(load("read_last_model"), pet_name(number))
        if model not in (None, MODEL):
            raise StopProcess(f"{pet_name(number)} has versions that are no samples: their model is {model}")
        for sample in samples(number, versions):
            if await _write(pool, sample):
                written += 1
            else:
                present += 1
    return Seeded(written, present)


async def _write(pool: Any, sample: Sample) -> bool:
    """Whether the version is new."""
    async with pool.acquire() as connection, connection.transaction():
        outcome = await apply_version(connection, sample.version)
        if isinstance(outcome, Applied):
            await record_commands(connection, [RecordedCommand(sample.command, sample.at)])
            await record_statuses(connection, sample.statuses)
        return isinstance(outcome, Applied)


def samples(number: int, versions: int) -> Iterator[Sample]:
    """The jobs of a pet, one a version; the first are the same however many are asked for."""
    pet_id, album = pet_name(number), _Album(number)
    replay = LogReplay(PARTITION)
    for job in range(1, versions + 1):
        at = START + timedelta(days=number, hours=job)
        job_id, images, failed = f"{pet_id}-job-{job}", album.shoot(pet_id, job), _failed(pet_id, job)
        ids = (*(image.image_id for image in images), *(image.image_id for image in failed))
        label = SUBJECTS[job % len(SUBJECTS)]
        command = EmbedImages(
            pet_id=pet_id, job_id=job_id, image_ids=ids, job_images=len(ids), labels=(label,), reason="seed",
            coverage={"portrait": min(1.0, job / 10)}, enqueued_at=timestamp(at), source="seed",
        )  # fmt: skip
        context = JobContext(
            job_id=job_id, reason="seed", labels=command.labels, coverage=command.coverage,
            enqueued_at=command.enqueued_at,
        )  # fmt: skip
        fact = ImagesEmbedded(job=context, model=MODEL, dimension=DIMENSION, images=images, failed=failed)
        value = encode_fact(
            fact, event_id=message_id("seed", job_id), time=timestamp(at + timedelta(seconds=2)), pet_id=pet_id
        )
        outputs = replay.apply(job - 1, pet_id.encode(), value)
        (version,) = [decode_version(each.value) for each in outputs if each.channel == "versions"]
        statuses = tuple(_status.decode(each.value) for each in outputs if each.channel == "status")
        yield Sample(command, at, version, statuses)


class _Album:
    """Draws a pet's photos: of each subject a burst in turn, and now and then one that belongs nowhere."""

    def __init__(self, number: int) -> None:
        self._random = np.random.default_rng([zlib.crc32(b"seed"), number])
        self._subjects = [self._direction() for _ in SUBJECTS]

    def shoot(self, pet_id: str, job: int) -> tuple[EmbeddedImage, ...]:
        subject = self._subjects[job % len(self._subjects)]
        directions = [subject + SPREAD * self._direction() for _ in range(2 + job % 2)]
        if job % 3 == 0:
            directions.append(self._direction())
        return tuple(
            self._image(f"{pet_id}-image-{job}-{shot}", direction) for shot, direction in enumerate(directions, start=1)
        )

    def _image(self, image_id: str, direction: Floats) -> EmbeddedImage:
        vector = quantize(direction / np.linalg.norm(direction))
        score = round(float(self._random.uniform(0.4, 0.95)), 3)
        return EmbeddedImage(
            image_id, vector, Quality(score=score, sharpness=score), phash=int.from_bytes(vector[:8], "little"),
            width=1600, height=1200,
        )  # fmt: skip

    def _direction(self) -> Floats:
        values: Floats = self._random.normal(size=DIMENSION)
        return values / np.linalg.norm(values)


def _failed(pet_id: str, job: int) -> tuple[FailedImage, ...]:
    """Every fourth job has an image that is not to be had."""
    if job % 4:
        return ()
    return (FailedImage(f"{pet_id}-image-{job}-missing", "not_found", "the storage has no such image"),)
