"""Vectors as integers, so that sums and dot products are exact on every machine.

Two BLAS kernels give different last bits for the same float dot product, and a fold that must give the same bytes
everywhere cannot live with that. A unit vector x is kept as round(x * 4096) in int16; dots of such vectors, and of
sums of up to `MAX_WEIGHT` of them, are integers below 2^53, which float64 holds exactly in whatever order they are
added. Called by the embedder (quantize) and the mixture.
"""

from __future__ import annotations

from math import sqrt
from typing import Final

import numpy as np
import numpy.typing as npt

SCALE: Final = 4096
MAX_WEIGHT: Final = 16_384
"""Vectors a sum may hold: (2^14 * 2^12)^2 = 2^52, and norms are at most 1.02: below 2^53."""

Floats = npt.NDArray[np.float64]


def quantize(vector: npt.NDArray[np.floating]) -> bytes:
    """The log's bytes of a unit vector of shape (d,): d little-endian int16, round(x * 4096), ties to even.

    Raises ValueError when a value is not finite or the norm is further than 1 % from 1.
    """
    values = np.asarray(vector, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError("a vector must be one-dimensional and finite")
    norm = float(np.sqrt((values * values).sum()))
    if abs(norm - 1.0) > 0.01:
        raise ValueError(f"a vector must have norm 1, got {norm:.4f}")
    return np.rint(values * SCALE).astype("<i2").tobytes()


def dequantize(raw: bytes) -> Floats:
    """The integers of `quantize` as float64, shape (d,); not scaled back: 4096 times the unit vector."""
    return np.frombuffer(raw, dtype="<i2").astype(np.float64)


def is_unit(raw: bytes) -> bool:
    """Whether `quantize` could have made these bytes: the norm is within 2 % of 1, which bounds every sum."""
    values = dequantize(raw)
    return 0.98 <= sqrt(float(values @ values)) / SCALE <= 1.02


def encode_sum(values: Floats) -> bytes:
    """Integer-valued float64 as little-endian int16 when all fit, else int32 (a sum of 2^14 vectors always fits)."""
    narrow = float(np.abs(values).max(initial=0.0)) <= np.iinfo(np.int16).max
    return values.astype("<i2" if narrow else "<i4").tobytes()


def decode_sum(raw: bytes, dimension: int) -> Floats:
    """Inverse of `encode_sum` for vectors of `dimension` values."""
    width = len(raw) // dimension
    return np.frombuffer(raw, dtype=f"<i{width}").astype(np.float64)
