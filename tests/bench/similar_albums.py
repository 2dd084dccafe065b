"""Photos of many pets for the benchmark `similar`: drawn, and as facts of the log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import numpy as np

from schemas.codec import encode_fact
from schemas.facts import EmbeddedImage, ImagesEmbedded, JobContext, Quality
from tables.vectors import quantize
from tests.scale.vectors import DIMENSION, OWN_SHARE, Vectors, photo_vectors

PETS: Final = 450
SCENES: Final = 10
PHOTOS_A_SCENE: Final = 10
MORE: Final = 1_000
MODEL: Final = "bench@1"
TIME: Final = "2026-11-21T08:00:00.000000+00:00"
BIG: Final = 5_000
"""Photos of the largest pet: a search for one of them has to pass its own pet's."""
TRAITS: Final = 24
"""Numbers in which pets, and places, differ from each other where pets are alike by degrees, as animals are."""


@dataclass(frozen=True)
class Photo:
    """A photo with its vector as the log has it."""

    pet_id: str
    image_id: str
    vector: bytes


@dataclass(frozen=True)
class Album:
    """All photos of a run. `draw`: unit vectors of a pet's scene, how many of them."""

    draw: Callable[[int, int, int], Vectors]

    def photos(self) -> Iterator[Photo]:
        """Those of the small pets, then those of the big one."""
        yield from self._pets(range(PETS))
        for scene in range(BIG // 100):
            yield from self._scene("big", PETS, scene, 100)

    def more(self) -> Iterator[Photo]:
        """Photos of pets that come later."""
        yield from self._pets(range(PETS + 1, PETS + 1 + MORE // (SCENES * PHOTOS_A_SCENE)))

    def _pets(self, pets: Iterable[int]) -> Iterator[Photo]:
        for pet in pets:
            for scene in range(SCENES):
                yield from self._scene(f"pet-{pet}", pet, scene, PHOTOS_A_SCENE)

    def _scene(self, pet_id: str, pet: int, scene: int, photos: int) -> Iterator[Photo]:
        for number, vector in enumerate(self.draw(pet, scene, photos)):
            yield Photo(pet_id, f"{scene}-{number}", quantize(vector))


def unlike(pet: int, scene: int, photos: int) -> Vectors:
    """Photos of a pet's scene, as like another pet's as chance has it."""
    return photo_vectors(pet, scene, [scene] * photos)


def alike(pet: int, scene: int, photos: int) -> Vectors:
    """As tests.scale.vectors, but what is a pet's and what is a scene's are made of few traits, the same for all."""
    traits = _normal(0, (2, TRAITS, DIMENSION)) / np.sqrt(TRAITS)
    shown = np.sqrt(0.5) * (_normal(1, TRAITS, pet) @ traits[0] + _normal(2, TRAITS, pet, scene) @ traits[1])
    own = OWN_SHARE[0] + OWN_SHARE[1] * np.linspace(0, 1, photos)[:, None] ** 2
    noise = _normal(3, (photos, DIMENSION), pet, scene)
    features = np.square(np.maximum(np.sqrt(1 - own) * shown + np.sqrt(own) * noise, 0))
    unit: Vectors = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _normal(kind: int, shape: int | tuple[int, ...], *which: int) -> Any:
    return np.random.default_rng((kind, *which)).standard_normal(shape, dtype=np.float32)


def facts_of(photos: Sequence[Photo], offset: int) -> Iterator[Any]:
    """Records of the log from an offset on, ten photos each."""
    for number, start in enumerate(range(0, len(photos), PHOTOS_A_SCENE)):
        some = photos[start : start + PHOTOS_A_SCENE]
        pet_id = some[0].pet_id
        fact = ImagesEmbedded(
            job=JobContext(job_id=f"job-{start}"),
            model=MODEL,
            dimension=DIMENSION,
            images=tuple(EmbeddedImage(photo.image_id, photo.vector, Quality()) for photo in some),
        )
        value = encode_fact(fact, event_id=f"e{start}", time=TIME, pet_id=pet_id)
        yield SimpleNamespace(topic="log", partition=0, offset=offset + number, key=pet_id.encode(), value=value)
