"""Vectors that lie as the default model's do for real photos. Used by history.py.

The model's features come out of a ReLU: none is negative, about half are 0, and few are large. Here a feature is the
square of a normal variable's positive part, which has both, and cosines of unlike photos about the real ones. The
variables of a photo are its pet's, its scene's and its own, mixed by variance:

    photo = √(1 - own) · scene + √own · noise        scene = √PET_SHARE · pet + √(1 - PET_SHARE) · noise

tests/integration/test_scale_vectors.py compares them with the bundled photographs' bursts. How alike the scenes of one
real pet are was not measured: the bundled photographs have one subject each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

DIMENSION: Final = 1280
PET_SHARE: Final = 0.3
OWN_SHARE: Final = (0.005, 0.13)
"""Least, and how much more at most: u² of it for u uniform, so that a few shots of a burst are much unlike."""
_SEED: Final = 20_261_121


def photo_vectors(pet: int, job: int, scenes: Sequence[int]) -> Vectors:
    """Unit vectors, float32[len(scenes), 1280], of a job's photos; the same numbers give the same vectors."""
    of_pet = _normal(pet).standard_normal(DIMENSION, dtype=np.float32)
    of_scenes = {scene: _scene(of_pet, pet, scene) for scene in set(scenes)}
    random = _normal(pet, 0, job)
    own = OWN_SHARE[0] + OWN_SHARE[1] * random.random((len(scenes), 1), dtype=np.float32) ** 2
    noise = random.standard_normal((len(scenes), DIMENSION), dtype=np.float32)
    shown = np.stack([of_scenes[scene] for scene in scenes])
    features = np.square(np.maximum(np.sqrt(1 - own) * shown + np.sqrt(own) * noise, 0))
    unit: Vectors = features / np.linalg.norm(features, axis=1, keepdims=True)
    return unit


def _scene(of_pet: NDArray[np.float32], pet: int, scene: int) -> NDArray[np.float32]:
    noise = _normal(pet, 1, scene).standard_normal(DIMENSION, dtype=np.float32)
    mixed: NDArray[np.float32] = (np.sqrt(PET_SHARE) * of_pet + np.sqrt(1 - PET_SHARE) * noise).astype(np.float32)
    return mixed


def _normal(*which: int) -> np.random.Generator:
    return np.random.default_rng((_SEED, *which))
