"""A photograph taken again: the pictures of a burst, as a hand, a light and a phone vary them. Pure; used by albums.py.

crop, turn, mirror ─ light, contrast, colour of the light ─ blur ─ size ─ noise ─ JPEG
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Floats = NDArray[np.float32]

SCENE: Final = (640, 480)
_FEATHER: Final = 14


@dataclass(frozen=True)
class Variation:
    """How far shots of a burst differ.

    `keep`: the least share of the sides that a crop leaves. `turn`: degrees at most. `mirror`, `blurred`, `noisy`:
    probabilities. `light`, `contrast`, `tint`: relative change at most. `blur`: largest radius, pixels. `noise`:
    largest deviation, grey levels. `quality`: the least of the JPEG. `side`: the least of the longer side, pixels.
    `subject`: share of the scene's height that a pasted subject has, least and most.
    """

    keep: float
    turn: float
    mirror: float
    light: float
    contrast: float
    tint: float
    blurred: float
    blur: float
    noisy: float
    noise: float
    quality: int
    side: int
    subject: tuple[float, float]


VARIATIONS: Final = {
    "easy": Variation(0.85, 3, 0.02, 0.15, 0.10, 0.05, 0.2, 1.2, 0.15, 6, 60, 400, (0.75, 0.90)),
    "medium": Variation(0.65, 8, 0.05, 0.30, 0.20, 0.10, 0.35, 2.2, 0.30, 12, 35, 260, (0.60, 0.80)),
    "hard": Variation(0.50, 12, 0.08, 0.40, 0.30, 0.16, 0.45, 3.2, 0.40, 20, 20, 180, (0.50, 0.70)),
}


def shoot(image: Image.Image, how: Variation, random: np.random.Generator) -> bytes:
    """The JPEG of one more shot of `image`."""
    image = _framed(image, how, random)
    values = np.asarray(image, np.float32)
    contrast, light = 1 + how.contrast * random.uniform(-1, 1), 1 + how.light * random.uniform(-1, 1)
    mean = values.mean()
    values = ((values - mean) * contrast + mean) * light * _tint(how.tint, random)
    image = _picture(values)
    if random.random() < how.blurred:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.4, how.blur)))
    image = resized(image, int(random.integers(how.side, 641)))
    if random.random() < how.noisy:
        image = with_noise(image, random.uniform(how.noise / 3, how.noise), random)
    return jpeg(image, int(random.integers(how.quality, 96)))


def copy(data: bytes, random: np.random.Generator) -> bytes:
    """A JPEG's pixels in another size or JPEG quality, and nothing else."""
    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGB")
    if random.random() < 0.5:
        image = resized(image, round(max(image.size) * random.uniform(0.4, 0.9)))
    return jpeg(image, int(random.integers(30, 96)))


def scene(subject: Image.Image, place: Image.Image, share: float, at: tuple[float, float]) -> Image.Image:
    """The middle of a subject's photograph before a place, with soft edges, so that groups can share places.

    `share`: its height in the scene's. `at`: its centre, shares of what is left to its sides.
    """
    ground = _covering(place, SCENE)
    side = round(min(subject.size) * 0.9)
    left, top = (subject.width - side) // 2, (subject.height - side) // 2
    cut = subject.crop((left, top, left + side, top + side)).resize((round(SCENE[1] * share),) * 2)
    mask = Image.new("L", cut.size, 0)
    inset = _FEATHER * 1.5
    ImageDraw.Draw(mask).ellipse((inset, inset, cut.width - inset, cut.height - inset), fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(_FEATHER / 2))
    corner = (round((SCENE[0] - cut.width) * at[0]), round((SCENE[1] - cut.height) * at[1]))
    ground.paste(cut, corner, mask)
    return ground


def crop(image: Image.Image, keep: float, at: tuple[float, float]) -> Image.Image:
    """A part with `keep` of both sides; `at`: where, shares of the room left."""
    width, height = round(image.width * keep), round(image.height * keep)
    left, top = round((image.width - width) * at[0]), round((image.height - height) * at[1])
    return image.crop((left, top, left + width, top + height))


def resized(image: Image.Image, side: int) -> Image.Image:
    """The image with its longer side at `side` pixels."""
    scale = side / max(image.size)
    size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
    return image.resize(size, Image.Resampling.BICUBIC)


def with_noise(image: Image.Image, deviation: float, random: np.random.Generator) -> Image.Image:
    """The image with normal noise of `deviation` grey levels on every channel."""
    noise = random.standard_normal((image.height, image.width, 3), dtype=np.float32)
    return _picture(np.asarray(image, np.float32) + deviation * noise)


def lit(image: Image.Image, factor: float) -> Image.Image:
    """The image exposed by `factor`; what is brighter than white stays white."""
    return _picture(np.asarray(image, np.float32) * factor)


def jpeg(image: Image.Image, quality: int) -> bytes:
    """The image's file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _framed(image: Image.Image, how: Variation, random: np.random.Generator) -> Image.Image:
    """Turned, then cropped inside what the turn leaves, sometimes mirrored."""
    angle = how.turn * random.uniform(-1, 1)
    keep, at = random.uniform(how.keep, 1), (random.uniform(), random.uniform())
    radians = abs(np.radians(angle))
    ratio = max(image.size) / min(image.size)
    inner = 1 / (np.cos(radians) + ratio * np.sin(radians))  # beyond it a corner of the turned picture is black
    turned = image.rotate(angle, Image.Resampling.BILINEAR)
    framed = crop(crop(turned, float(inner), (0.5, 0.5)), float(keep), at)
    return framed.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < how.mirror else framed


def _tint(most: float, random: np.random.Generator) -> Floats:
    """Factors of the channels: warmer or colder, and a little green or magenta."""
    warm, green = most * random.uniform(-1, 1), most / 2 * random.uniform(-1, 1)
    return np.array([1 + warm, 1 + green, 1 - warm], np.float32)


def _covering(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The middle of the image, scaled so that it just fills `size`."""
    scale = max(size[0] / image.width, size[1] / image.height)
    large = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (large.width - size[0]) // 2, (large.height - size[1]) // 2
    return large.crop((left, top, left + size[0], top + size[1]))


def _picture(values: Floats) -> Image.Image:
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
