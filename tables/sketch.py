"""Short stand-ins for vectors, to find the few components that are worth an exact look. Pure; used by the mixture.

A count sketch (Charikar, Chen and Farach-Colton, "Finding frequent items in data streams", 2002): each of the d values
goes, with a sign, into one of `WIDTH` sums, and sketch(x)·sketch(y) estimates x·y without bias, with a standard
deviation of about ‖x‖‖y‖/√`WIDTH`. It is linear, and of integers an integer, so that estimates are exact numbers, too:
the same on every machine.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tables.vectors import Floats

WIDTH: Final = 128
_MULTIPLIER: Final = 6364136223846793005
_INCREMENT: Final = 1442695040888963407
"""Knuth's MMIX generator (The Art of Computer Programming 2, 3.3.4): ours for ever, as numpy's generators are not."""


def sketches(values: Floats) -> Floats:
    """The sketches, shape (m, `WIDTH`), of integer-valued `values`, shape (m, d); for a small d they themselves."""
    rows, dimension = values.shape
    if dimension <= WIDTH:
        short: Floats = np.zeros((rows, WIDTH))
        short[:, :dimension] = values
        return short
    order, signs = _plan(dimension)
    if len(order) > dimension:
        values = np.concatenate([values, np.zeros((rows, len(order) - dimension))], axis=1)
    sums: Floats = (values[:, order] * signs).reshape(rows, -1, WIDTH).sum(axis=1)
    return sums


@lru_cache(maxsize=8)
def _plan(dimension: int) -> tuple[npt.NDArray[Any], Floats]:
    """Which value goes into which sum, and with which sign."""
    length = -(-dimension // WIDTH) * WIDTH
    state, order, signs = dimension, list(range(length)), []
    for last in range(length - 1, 0, -1):
        state = (_MULTIPLIER * state + _INCREMENT) % 2**64
        other = (state >> 33) % (last + 1)
        order[last], order[other] = order[other], order[last]
    for _ in range(length):
        state = (_MULTIPLIER * state + _INCREMENT) % 2**64
        signs.append(1.0 if state >> 63 else -1.0)
    return np.array(order), np.array(signs)
