"""Albums that stand in the log already, and can grow by a job over the whole way. Used by the benchmark `bytes`.

Their facts are what the embed role would have written: same type, headers, key and hence partition, and the vectors of
the same constant-time embedder, so that later photos join the scenes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from agents.embedder.constant_time import GRID, ConstantTimeEmbedder
from schemas.facts import ImagesEmbedded, JobContext
from schemas.headers import timestamp
from tables.vectors import quantize
from tests.albums import measured
from tests.bench.album import Mosaics, save_jpeg, scenes
from tests.scale.history import Entry

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

    def entries(self) -> Iterable[Entry]:
        """One fact a job, in order; to be called once."""
        for number, shown in enumerate(self._built):
            shots = np.stack([self._mosaics.shoot(scene) for scene in shown])
            job_id, image_ids = self._ids(number, len(shown))
            vectors = _EMBEDDER.embed(shots)
            digests = [hashlib.sha256(shot.tobytes()).digest() for shot in shots]
            now = datetime.now(UTC)
            fact = ImagesEmbedded(
                job=JobContext(job_id=job_id, reason="insights_ready", enqueued_at=timestamp(now)),
                model=_EMBEDDER.model_id,
                dimension=_EMBEDDER.dimension,
                device=_EMBEDDER.device,
                images=tuple(map(measured, image_ids, map(quantize, vectors), digests)),
            )
            yield Entry(self.pet_id, fact, now)

    def further_job(self, number: int, folder: Path) -> tuple[str, list[str]]:
        """Id and image ids of the nth job after the built ones, from 0; its photos are written to `folder`."""
        job_id, image_ids = self._ids(self.jobs + number, len(self._further[number]))
        for image_id, scene in zip(image_ids, self._further[number], strict=True):
            save_jpeg(self._mosaics.shoot(scene), folder / f"{image_id}.jpg")
        return job_id, image_ids

    def _ids(self, number: int, count: int) -> tuple[str, list[str]]:
        return f"{self.pet_id}_job_{number:04}", [f"{self.pet_id}_img_{number:04}_{shot}" for shot in range(count)]
