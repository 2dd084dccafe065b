"""Albums for benchmarks: which scene each photo shows, and photos to go with it. Used by `bytes` and `fold`.

A job brings ten photos: two bursts of five. One burst in four shows a scene that is new to the album, the others one of
the scenes it has, so that an album of n photos has about n/20 scenes, whatever its size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

BURSTS: Final = 2
SHOTS: Final = 5
JOB_IMAGES: Final = BURSTS * SHOTS
NEW_SCENE_EVERY: Final = 4
MOSAIC: Final = 16
SHOT_SIDE: Final = 64
_CONTRAST: Final = 48.0
_SHOT_NOISE: Final = 20.0


def scenes(jobs: int, seed: int) -> list[list[int]]:
    """For each of `jobs` jobs, the scene of each of its photos; scenes are numbered as they first appear."""
    random = np.random.default_rng(seed)
    known, plan = 0, []
    for burst in range(jobs * BURSTS):
        if burst % NEW_SCENE_EVERY == 0:
            scene, known = known, known + 1
        else:
            scene = int(random.integers(known))
        plan.append([scene] * SHOTS)
    return [sum(plan[start : start + BURSTS], []) for start in range(0, len(plan), BURSTS)]


class MosaicPhotos:
    """Small JPEGs whose vectors under the constant-time embedder form bursts: mosaics of 16 × 16 random tiles.

    Two shots of a scene differ by noise on each tile.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._random = np.random.default_rng(seed)
        self._scenes: dict[int, np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = {}

    def shoot(self, image_id: str, scene: int) -> None:
        """Write a photo of the scene as ``{image_id}.jpg``."""
        if scene not in self._scenes:
            self._scenes[scene] = self._tiles(_CONTRAST) + 127.5
        tiles = self._scenes[scene] + self._tiles(_SHOT_NOISE)
        mosaic = Image.fromarray(np.clip(tiles, 0, 255).astype(np.uint8))
        shot = mosaic.resize((SHOT_SIDE, SHOT_SIDE), Image.Resampling.NEAREST)
        shot.save(self._folder / f"{image_id}.jpg", quality=85, subsampling=0)

    def _tiles(self, deviation: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return self._random.normal(scale=deviation, size=(MOSAIC, MOSAIC, 3))
