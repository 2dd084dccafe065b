"""Makes facts with realistic vectors for tests: bursts of unit vectors around random directions."""

from __future__ import annotations

import numpy as np

from schemas.facts import EmbeddedImage, ImagesEmbedded, JobContext, Quality
from tables.vectors import Floats, quantize

MODEL = "test-model@1"
DIMENSION = 64


def unit(values: Floats) -> Floats:
    scaled: Floats = values / np.linalg.norm(values)
    return scaled


class Directions:
    """Seeded directions and vectors near them; `spread` .5 gives a cosine of about .9 to the direction."""

    def __init__(self, seed: int, dimension: int = DIMENSION) -> None:
        self._random = np.random.default_rng(seed)
        self.dimension = dimension

    def new(self) -> Floats:
        return unit(self._random.normal(size=self.dimension))

    def near(self, direction: Floats, spread: float = 0.5) -> bytes:
        return quantize(unit(direction + spread * self.new()))


def image(image_id: str, vector: bytes, quality: float = 0.5) -> EmbeddedImage:
    return EmbeddedImage(image_id, vector, Quality(score=quality), phash=hash_of(vector), width=64, height=48)


def measured(image_id: str, vector: bytes, digest: bytes) -> EmbeddedImage:
    """An image with everything that embed measures, made up from a SHA-256 digest."""
    score = digest[0] / 255
    quality = Quality(score, digest[1] / 255, digest[2] / 255, digest[3] / 255, digest[4] / 255)
    phash = int.from_bytes(digest[:8], "little")
    return EmbeddedImage(image_id, vector, quality, phash, 64, 64, "2026-05-01T09:00:00", digest, 4_000)


def hash_of(vector: bytes) -> int:
    return int.from_bytes(vector[:8], "little")


def embedded(
    images: list[EmbeddedImage],
    *,
    job_id: str = "job",
    part: int = 1,
    parts: int = 1,
    dimension: int = DIMENSION,
    **job: object,
) -> ImagesEmbedded:
    context = JobContext(job_id=job_id, part=part, parts=parts, **job)  # type: ignore[arg-type]
    return ImagesEmbedded(job=context, model=MODEL, dimension=DIMENSION, images=tuple(images))
