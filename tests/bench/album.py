"""Albums for benchmarks: which scene each photo shows, and photos to go with it. Used by `bytes` and `fold`.

A job brings ten photos: two bursts of five. The first two bursts and every fourth one after them show a scene that is
new to the album, the others one of the scenes it has, so that an album of n photos has about n/20 scenes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agents.embedder.constant_time import GRID
from agents.embedder.embedder import Pixels

Tiles = NDArray[np.float64]

BURSTS: Final = 2
SHOTS: Final = 5
JOB_IMAGES: Final = BURSTS * SHOTS
NEW_SCENE_EVERY: Final = 4
_JPEG_SIDE: Final = 64
_CONTRAST: Final = 48.0
_SHOT_NOISE: Final = 20.0


def scenes(jobs: int, seed: int) -> list[list[int]]:
    """For each of `jobs` jobs, the scene of each of its photos; scenes are numbered as they first appear."""
    random = np.random.default_rng(seed)
    known, plan = 0, []
    for burst in range(jobs * BURSTS):
        if burst < BURSTS or burst % NEW_SCENE_EVERY == 0:
            scene, known = known, known + 1
        else:
            scene = int(random.integers(known))
        plan.append([scene] * SHOTS)
    return [[*plan[first], *plan[first + 1]] for first in range(0, len(plan), BURSTS)]


class Mosaics:
    """Photos whose vectors under the constant-time embedder form bursts: mosaics of 16 × 16 random tiles.

    Two shots of a scene differ by noise on each tile.
    """

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._scenes: dict[int, Tiles] = {}

    def shoot(self, scene: int) -> Pixels:
        """A shot of the scene, RGB uint8[16, 16, 3]: a pixel a tile."""
        if scene not in self._scenes:
            self._scenes[scene] = self._tiles(_CONTRAST) + 127.5
        shot: Pixels = np.clip(self._scenes[scene] + self._tiles(_SHOT_NOISE), 0, 255).astype(np.uint8)
        return shot

    def _tiles(self, deviation: float) -> Tiles:
        return self._random.normal(scale=deviation, size=(GRID, GRID, 3))


def save_jpeg(shot: Pixels, path: Path) -> None:
    """Write a mosaic as a small JPEG, each tile a square."""
    picture = Image.fromarray(shot).resize((_JPEG_SIDE, _JPEG_SIDE), Image.Resampling.NEAREST)
    picture.save(path, quality=85, subsampling=0)
