"""What the batcher asks of a model. Implemented by `OnnxSession` and, for benchmarks, `ConstantTimeEmbedder`."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """Makes unit vectors from pixels; called from one thread at a time, must not be called on the event loop."""

    @property
    def model_id(self) -> str:
        """Name and version, recorded with every vector."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    @property
    def input_size(self) -> int:
        """Side of the square that images are resized to, in pixels."""
        ...

    @property
    def device(self) -> str:
        """``cuda`` or ``cpu``."""
        ...

    def embed(self, batch: Pixels) -> Vectors:
        """float32[n, dimension], each row of length 1, for RGB uint8[n, input_size, input_size, 3].

        A row that the model could not make sense of (not finite, or zero) is all NaN; its neighbours are unharmed.
        """
        ...


def unit_rows(raw: Vectors) -> Vectors:
    """Each row divided by its length; a row without a finite, positive length becomes NaN.

    Lengths are taken in float64, whose range holds the square of every float32.
    """
    lengths = np.linalg.norm(raw.astype(np.float64), axis=1, keepdims=True)
    usable = np.isfinite(lengths) & (lengths > 0)
    unit = raw / np.where(usable, lengths, 1.0)
    return np.where(usable, unit, np.nan).astype(np.float32)
