"""Albums that stand in the log already, and can grow by a job over the whole way. Used by the benchmark `bytes`.

Their facts are what the embed role would have written: same type, headers, key and hence partition, and the vectors of
the same constant-time embedder, so that later photos join the scenes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from aiokafka import AIOKafkaProducer

from agents.embedder.constant_time import GRID, ConstantTimeEmbedder
from agents.embedder.embedder import Pixels
from schemas.codec import encode_fact, fact_type
from schemas.facts import EmbeddedImage, ImagesEmbedded, JobContext, Quality
from schemas.headers import build_headers, timestamp
from schemas.ids import message_id
from tables.vectors import quantize
from tests.bench.album import Mosaics, save_jpeg, scenes
from tests.e2e.service import Service

FURTHER_JOBS: Final = 2
_EMBEDDER: Final = ConstantTimeEmbedder(seconds_per_batch=0.0, input_size=GRID)
"""A mosaic has a pixel a tile, so it needs no more; the vectors are those of the larger JPEG but for its coding."""


class GrownAlbum:
    """An album of `jobs` jobs of one pet."""

    def __init__(self, pet_id: str, jobs: int, seed: int) -> None:
        self.pet_id = pet_id
        self.jobs = jobs
        plan = scenes(jobs + FURTHER_JOBS, seed)
        self._built, self._further = plan[:jobs], plan[jobs:]
        self._mosaics = Mosaics(seed)

    def facts(self) -> Iterable[ImagesEmbedded]:
        """One fact a job, in order; to be called once."""
        for number, shown in enumerate(self._built):
            shots = np.stack([self._mosaics.shoot(scene) for scene in shown])
            job_id, image_ids = self._ids(number, len(shown))
            vectors = _EMBEDDER.embed(shots)
            yield ImagesEmbedded(
                job=JobContext(job_id=job_id, reason="insights_ready", enqueued_at=timestamp(datetime.now(UTC))),
                model=_EMBEDDER.model_id,
                dimension=_EMBEDDER.dimension,
                device=_EMBEDDER.device,
                images=tuple(map(_image, image_ids, shots, map(quantize, vectors))),
            )

    def further_job(self, number: int, folder: Path) -> tuple[str, list[str]]:
        """Id and image ids of the nth job after the built ones, from 0; its photos are written to `folder`."""
        job_id, image_ids = self._ids(self.jobs + number, len(self._further[number]))
        for image_id, scene in zip(image_ids, self._further[number], strict=True):
            save_jpeg(self._mosaics.shoot(scene), folder / f"{image_id}.jpg")
        return job_id, image_ids

    def _ids(self, number: int, count: int) -> tuple[str, list[str]]:
        return f"{self.pet_id}_job_{number:04}", [f"{self.pet_id}_img_{number:04}_{shot}" for shot in range(count)]


def _image(image_id: str, shot: Pixels, vector: bytes) -> EmbeddedImage:
    digest = hashlib.sha256(shot.tobytes()).digest()
    score = digest[0] / 255
    quality = Quality(score, digest[1] / 255, digest[2] / 255, digest[3] / 255, digest[4] / 255)
    phash = int.from_bytes(digest[:8], "little")
    return EmbeddedImage(image_id, vector, quality, phash, 64, 64, "2026-05-01T09:00:00", digest, 4_000)


async def write_facts(service: Service, albums: Iterable[GrownAlbum]) -> None:
    """Write all facts of the albums to the log; returns when the broker has them."""
    producer = AIOKafkaProducer(bootstrap_servers=service.bootstrap_servers, acks="all", max_batch_size=2**20)
    async with producer:
        for album in albums:
            sent = [await _send(producer, service.topics.pet_log.name, album.pet_id, fact) for fact in album.facts()]
            for future in sent:
                await future


async def _send(producer: AIOKafkaProducer, topic: str, pet_id: str, fact: ImagesEmbedded) -> Any:
    identity, now = message_id("embedded", pet_id, fact.job.job_id, 1, 1), timestamp(datetime.now(UTC))
    headers = build_headers(event_id=identity, event_type=fact_type(fact), source="/embed", time=now)
    value = encode_fact(fact, event_id=identity, time=now, pet_id=pet_id)
    return await producer.send(topic, key=pet_id.encode(), value=value, headers=headers)
