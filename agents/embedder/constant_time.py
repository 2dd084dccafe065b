"""An `Embedder` for benchmarks: takes the same time for every batch, so that a run measures the rest of the service.

Chosen by configuration only. Its vectors do come from the pixels (similar pictures, similar vectors), by a fixed
random projection (Johnson & Lindenstrauss 1984) of a 16×16 miniature; they are no substitute for a model.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np

from agents.embedder.embedder import Pixels, Vectors, unit_rows

GRID: Final = 16
SEED: Final = 20240229


class ConstantTimeEmbedder:
    """Sleeps until `seconds_per_batch` have passed, whatever the batch holds."""

    model_id = "constant-time@1"
    device = "cpu"

    def __init__(
        self,
        *,
        seconds_per_batch: float,
        dimension: int = 1280,
        input_size: int = 224,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if input_size % GRID:
            raise ValueError(f"input_size: must be a multiple of {GRID}, got {input_size}")
        self.dimension = dimension
        self.input_size = input_size
        self._seconds = seconds_per_batch
        self._sleep = sleep
        self._clock = clock
        self._projection = np.random.default_rng(SEED).standard_normal((GRID * GRID * 3 + 1, dimension))

    def embed(self, batch: Pixels) -> Vectors:
        """See `Embedder.embed`."""
        started = self._clock()
        count, cell = len(batch), self.input_size // GRID
        means = batch.reshape(count, GRID, cell, GRID, cell, 3).mean(axis=(2, 4)).reshape(count, -1)
        # The constant last feature keeps a perfectly grey picture from becoming the zero vector.
        features = np.concatenate([(means - 127.5) / 127.5, np.full((count, 1), 0.01)], axis=1)
        vectors = unit_rows((features @ self._projection).astype(np.float32))
        self._sleep(max(self._seconds - (self._clock() - started), 0.0))
        return vectors
