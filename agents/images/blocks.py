"""How visible the 8 × 8 blocks of a JPEG are, also of one that was saved again since. Called by `decode`."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.facts import UNMEASURED

BLOCK: Final = 8
LOOKED_AT: Final = 1024
"""Side of the part of a picture that is looked at, pixels; a multiple of `BLOCK`."""
LARGEST_STEP: Final = 20.0
"""Grey levels; a larger step is an edge of what the picture shows."""
SOFT: Final = 0.5


def evenness(image: Image.Image, *, shrunk: int) -> float:
    """1 where nothing sets the blocks' borders apart, ½ where steps across them are twice as large as those beside.

    1/(1 + r), r = (B − N)/(N + ½), not below 0: B the mean step between the pixels on both sides of a border, N that
    between their neighbours, over both directions (after Wang, Sheikh and Bovik, "No-reference perceptual quality
    assessment of JPEG compressed images", 2002). `image`: RGB, whose first pixel begins a block. `shrunk`: by how much
    decoding reduced it; blocks of less than 4 pixels are too small to be seen, and such a picture is even. UNMEASURED
    for one of less than three blocks.
    """
    period = BLOCK // shrunk
    if period < 4:
        return 1.0
    left, top = ((side - min(side, LOOKED_AT)) // 2 // BLOCK * BLOCK for side in image.size)
    part = image.crop((left, top, min(left + LOOKED_AT, image.width), min(top + LOOKED_AT, image.height)))
    gray = np.asarray(part.convert("L"), np.float32)
    if min(gray.shape) < 3 * period:
        return UNMEASURED
    across, along = _steps(gray, period), _steps(gray.T, period)
    border, beside = (across[0] + along[0]) / 2, (across[1] + along[1]) / 2
    return 1 / (1 + max(border - beside, 0.0) / (beside + SOFT))


def _steps(gray: NDArray[Any], period: int) -> tuple[float, float]:
    """Mean steps to the right across the blocks' borders, and beside them."""
    steps = np.minimum(np.abs(np.diff(gray, axis=1)), LARGEST_STEP).mean(axis=0)
    borders = np.arange(period - 1, steps.size - 1, period)
    beside = (steps[borders - 1] + steps[borders + 1]) / 2
    return float(steps[borders].mean()), float(beside.mean())
