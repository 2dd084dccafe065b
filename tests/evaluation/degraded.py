"""A hero group's pictures: the best shot, and the same view spoilt in one or two ways. Pure; used by albums.py.

The best shot is not always the one with the most pixels: what is spoilt is often enlarged.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import Image, ImageFilter

from tests.evaluation.shots import crop, jpeg, lit, resized, with_noise

Spoil = Callable[[Image.Image, float, np.random.Generator], Image.Image]
"""`strength` 0 … 1."""

SIDES: Final = (420, 900)
_TWO_WAYS: Final = 0.35


def undegraded(image: Image.Image, random: np.random.Generator) -> bytes:
    """The best shot: nearly the whole view."""
    return jpeg(_view(image, random), int(random.integers(88, 97)))


def degraded(image: Image.Image, random: np.random.Generator) -> bytes:
    """Another shot of the view, spoilt in one way, or in two."""
    image = _view(image, random)
    ways = random.permutation(len(SPOILS))[: 2 if random.random() < _TWO_WAYS else 1]
    for way in sorted(int(way) for way in ways):
        image = SPOILS[way](image, float(random.uniform()), random)
    return jpeg(image, int(random.integers(70, 97)))


def _view(image: Image.Image, random: np.random.Generator) -> Image.Image:
    view = crop(image, float(random.uniform(0.9, 1.0)), (float(random.uniform()), float(random.uniform())))
    return resized(view, int(random.integers(*SIDES)))


def _cut_off(image: Image.Image, strength: float, random: np.random.Generator) -> Image.Image:
    """Half or less of the view, from a corner, at the size that it had: what stands in the middle is cut off."""
    corner = (float(random.integers(2)), float(random.integers(2)))
    return resized(crop(image, 0.65 - 0.2 * strength, corner), max(image.size))


def _blurred(image: Image.Image, strength: float, random: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(max(image.size) / 640 * (1.2 + 3.5 * strength)))


def _moved(image: Image.Image, strength: float, random: np.random.Generator) -> Image.Image:
    """The mean of the image along a line, as a moving camera leaves it."""
    length = max(image.size) / 640 * (6 + 22 * strength)
    angle = random.uniform(0, np.pi)
    steps = max(int(length), 2)
    total = np.zeros((image.height, image.width, 3), np.float32)
    for step in np.linspace(-length / 2, length / 2, steps):
        move = (1, 0, float(step * np.cos(angle)), 0, 1, float(step * np.sin(angle)))
        moved = image.transform(image.size, Image.Transform.AFFINE, move, Image.Resampling.BILINEAR)
        total += np.asarray(moved, np.float32)
    edge = int(length / 2) + 1
    mean = Image.fromarray((total / steps).astype(np.uint8))
    return mean.crop((edge, edge, image.width - edge, image.height - edge))


def _small(image: Image.Image, strength: float, random: np.random.Generator) -> Image.Image:
    """Fewer pixels; half of the time enlarged again, which gives the pixels back and not what they showed."""
    small = resized(image, round(max(image.size) * (0.5 - 0.3 * strength)))
    return resized(small, max(image.size)) if random.random() < 0.5 else small


def _bright(image: Image.Image, strength: float, random: np.random.Generator) -> Image.Image:
    return lit(image, 1.6 + 1.2 * strength)


def _dark(image: Image.Image, strength: float, random: np.random.Generator) -> Image.Image:
    return lit(image, 0.55 - 0.35 * strength)


def _noisy(image: Image.Image, strength: float, random: np.random.Generator) -> Image.Image:
    return with_noise(image, 8 + 24 * strength, random)


def _blocky(image: Image.Image, strength: float, random: np.random.Generator) -> Image.Image:
    """Saved once at a low quality."""
    with Image.open(io.BytesIO(jpeg(image, round(22 - 14 * strength)))) as spoilt:
        return spoilt.convert("RGB")


SPOILS: Final[tuple[Spoil, ...]] = (_cut_off, _moved, _blurred, _bright, _dark, _small, _noisy, _blocky)
"""In the order in which a camera does them."""
