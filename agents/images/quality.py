"""Measured quality of an image, from its grey values alone. Called by `pipeline`, recorded with the vector.

Plain gradient measures take noise and over-exposure for sharpness. Here the gradients of each tile are freed of the
noise's share and divided by the tile's own contrast, and clipped pixels do not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.facts import UNMEASURED, Quality

Gray = NDArray[np.float64]

TILES: Final = 12
BEST_SHARE: Final = 0.15
DARK_CLIP: Final = 4.0
BRIGHT_CLIP: Final = 250.0
MIN_TILE_VARIANCE: Final = 25.0
HALF_SHARPNESS: Final = 0.12
HALF_NOISE: Final = 12.0
WELL_EXPOSED_SIGMA: Final = 0.2
FULL_CONTRAST: Final = 64.0
LEAST_SIDE: Final = 64.0
FULL_SIDE: Final = 3464.0

WEIGHTS: Final = {"sharpness": 0.5, "exposure": 0.2, "contrast": 0.1, "resolution": 0.2}


def measure(gray: NDArray[Any], *, width: int, height: int, evenness: float = UNMEASURED) -> Quality:
    """Quality of a picture of `width` × `height` pixels whose grey values, 0…255, are `gray` [h, w].

    `gray` may be a reduced copy; compare only pictures reduced to the same side. Every part lies in 0…1:

    - sharpness: see `_sharpness`; 0.5 at a noise-free gradient of 35 % of the contrast a pixel
    - exposure: exp(−(m−½)²/2σ²), m the mean grey in 0…1, σ = 0.2 (the weight of Mertens et al., "Exposure Fusion",
      2007, of the mean), times the share of pixels that are not clipped
    - contrast: standard deviation of the pixels that are not clipped (Peli, "Contrast in complex images", 1990),
      full at 64 grey levels
    - resolution: log₂(√(width·height) / 64), full at 12 megapixels
    - score: their mean weighted by `WEIGHTS`
    - highlights: share of the pixels that are not burnt out
    - cleanness: 1/(1 + (σ/12)²), σ the noise's (`noise_sigma`); UNMEASURED where nothing can be told of it
    - `evenness`: as decoding found it, agents.images.blocks
    """
    values = gray.astype(np.float64)
    clipped = (values <= DARK_CLIP) | (values >= BRIGHT_CLIP)
    tiles = _tiles(values, clipped) if min(values.shape) >= 3 else None
    if tiles is not None and not (tiles.usable > 0.5).any():
        tiles = None
    open_values = values[~clipped]
    mean = float(values.mean()) / 255
    parts = {
        "sharpness": 0.0 if tiles is None else _sharpness(tiles),
        "exposure": float(np.exp(-((mean - 0.5) ** 2) / (2 * WELL_EXPOSED_SIGMA**2)) * open_values.size / values.size),
        "contrast": min(float(open_values.std()) / FULL_CONTRAST, 1.0) if open_values.size else 0.0,
        "resolution": resolution(width, height),
    }
    return Quality(
        score=float(sum(WEIGHTS[name] * part for name, part in parts.items())),
        **parts,
        highlights=float(np.mean(values < BRIGHT_CLIP)),
        cleanness=UNMEASURED if tiles is None else _cleanness(noise_sigma(tiles)),
        evenness=evenness,
    )


def resolution(width: int, height: int) -> float:
    """0 up to 64 × 64 pixels, 1 from 12 megapixels, in between linear in the number of doublings."""
    share = np.log2(np.sqrt(width * height) / LEAST_SIDE) / np.log2(FULL_SIDE / LEAST_SIDE)
    return float(np.clip(share, 0.0, 1.0))


def _sharpness(tiles: _Tiles) -> float:
    """Sharpness of the sharpest tiles, 0…1; a subject in focus before a blurred background is sharp.

    For each of 12 × 12 tiles r² = (T − F)/64 / (V − σ² + 25): T the mean squared Sobel gradient (Tenengrad; Krotkov
    1987), V the tile's variance; r² does not change with the exposure. F is the noise's share of T: at least 24σ², what
    white noise makes, and at least the T of the smoothest tenth of the tiles, which counts noise that resizing has
    smoothed. The mean r² of the best 15 % of the tiles becomes r²/(r² + 0.12) / (1 + (σ/12)²).
    σ: see `noise_sigma`.
    """
    sigma = noise_sigma(tiles)
    floor = max(24 * sigma**2, float(np.quantile(tiles.gradient[tiles.usable > 0.5], 0.1)))
    gradient = np.maximum(tiles.gradient - floor, 0.0) / 64
    variance = np.maximum(tiles.variance - sigma**2, 0.0) + MIN_TILE_VARIANCE
    ratios = np.sort(gradient / variance * tiles.usable)[::-1]
    best = float(ratios[: max(round(ratios.size * BEST_SHARE), 1)].mean())
    return float(best / (best + HALF_SHARPNESS) * _cleanness(sigma))


def _cleanness(sigma: float) -> float:
    return 1 / (1 + (sigma / HALF_NOISE) ** 2)


@dataclass(frozen=True)
class _Tiles:
    """Per tile: mean squared Sobel gradient, variance, mean |Laplacian difference|, share of usable pixels."""

    gradient: Gray
    variance: Gray
    laplacian: Gray
    usable: Gray


def noise_sigma(tiles: _Tiles) -> float:
    """Standard deviation of the noise in grey levels.

    Immerkær, "Fast Noise Variance Estimation" (1996): √(π/2)/6 · mean|N∗g| with N = [1 −2 1; −2 4 −2; 1 −2 1], here in
    the smoothest tenth of the tiles, because texture looks like noise to it and noise is everywhere.
    """
    values = tiles.laplacian[tiles.usable > 0.5]
    return float(np.quantile(values, 0.1) * np.sqrt(np.pi / 2) / 6) if values.size else 0.0


def _tiles(gray: Gray, clipped: NDArray[np.bool_]) -> _Tiles:
    """The picture's inner pixels, cut into at most 12 × 12 tiles."""
    rows = gray[:-2] + 2 * gray[1:-1] + gray[2:]
    columns = gray[:, :-2] + 2 * gray[:, 1:-1] + gray[:, 2:]
    squared = (rows[:, 2:] - rows[:, :-2]) ** 2 + (columns[2:] - columns[:-2]) ** 2
    across = gray[:, :-2] - 2 * gray[:, 1:-1] + gray[:, 2:]
    laplacian = np.abs(across[:-2] - 2 * across[1:-1] + across[2:])
    inner = gray[1:-1, 1:-1]
    use = (~_touched(clipped)).astype(np.float64)
    count = _tile_sums(use)
    size = _tile_sums(np.ones_like(use))
    n = np.maximum(count, 1.0)
    mean = _tile_sums(inner * use) / n
    variance = np.maximum(_tile_sums(inner**2 * use) / n - mean**2, 0.0)
    return _Tiles(_tile_sums(squared * use) / n, variance, _tile_sums(laplacian * use) / n, count / size)


def _touched(clipped: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Inner pixels whose 3 × 3 neighbourhood holds a clipped one: the gradient there is the clipping's."""
    rows = clipped[:-2] | clipped[1:-1] | clipped[2:]
    touched: NDArray[np.bool_] = rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]
    return touched


def _tile_sums(values: Gray) -> Gray:
    starts = [np.unique(np.linspace(0, side, TILES, endpoint=False).astype(int)) for side in values.shape]
    sums: Gray = np.add.reduceat(np.add.reduceat(values, starts[0], axis=0), starts[1], axis=1)
    return sums.ravel()
