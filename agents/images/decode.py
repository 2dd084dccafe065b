"""Image bytes to pixels and facts about the file. Pure; called by `pipeline` in the threads of its decode executor.

bytes ─ header: type, size, limit on pixels ─ load (a JPEG at ½, ¼ or ⅛) ─ RGB ─┬─ squash ─▶ pixels for the model
                                                                                └─ grey ───▶ quality and hash
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from agents.images.blocks import evenness
from agents.images.errors import ImageError
from agents.images.exif import orientation, taken_at
from agents.images.file_types import FORMATS, sniff
from agents.images.modes import to_rgb
from agents.images.pixel_budget import PixelBudget
from schemas.errors import RetryLater

GRAY_SIDE: Final = 512
"""Longer side of the grey copy; one side for all, so that measured sharpness can be compared."""

# EXIF orientation to what Pillow does; 1 is upright.
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FIRST_TURNED: Final = 5

pillow_heif.register_heif_opener()


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """An image as displayed, EXIF orientation applied.

    `pixels`: RGB uint8[size, size, 3], squashed to a square. `gray`: uint8[h, w], the longer side 512. `width`,
    `height`: of the file's image in pixels. `taken_at`: EXIF time as ISO 8601 without zone, or empty. `evenness`: see
    agents.images.blocks.
    """

    pixels: NDArray[np.uint8]
    gray: NDArray[np.uint8]
    width: int
    height: int
    taken_at: str
    evenness: float


def decode(data: bytes, *, size: int, max_pixels: int, budget: PixelBudget | None = None) -> DecodedImage:
    """Decode the first frame and squash it to `size` × `size`.

    `budget`: what all threads may hold of full-size pixels; this one waits for its part. The limit on pixels is checked
    on the header, before memory is taken for them. A caller's `max_pixels` above Pillow's own limit (about 179 million)
    has no effect.
    Raises ImageError (not_an_image, unsupported_type, too_many_pixels, truncated), RetryLater when memory is short.
    """
    try:
        image = _open(data)
        with image:
            width, height = image.size
            if width * height > max_pixels:
                raise ImageError("too_many_pixels", f"{width} × {height} pixels, at most {max_pixels} are read")
            with budget.reserve(_pixels_held(image, size)) if budget else nullcontext():
                rgb = to_rgb(_load(image))
                even = evenness(rgb, shrunk=max(round(width / rgb.width), 1))
                square, gray = _shrunk(rgb, size, gray_size=_fit(width, height))
                # Not before: a PNG may carry EXIF behind its pixels, and the TIFF and HEIF readers turn for themselves.
                turn, moment = orientation(image), taken_at(image)
    except MemoryError as error:
        raise RetryLater("not enough memory to decode an image") from error
    if turn in _TURNS:
        square, gray = square.transpose(_TURNS[turn]), gray.transpose(_TURNS[turn])
        if turn >= _FIRST_TURNED:
            width, height = height, width
    return DecodedImage(np.array(square), np.array(gray), width, height, moment, even)


def _shrunk(rgb: Image.Image, size: int, gray_size: tuple[int, int]) -> tuple[Image.Image, Image.Image]:
    square = rgb.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return square, rgb.convert("L").resize(gray_size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def _fit(width: int, height: int) -> tuple[int, int]:
    """The grey copy's size: the longer side 512, the shorter in proportion."""
    scale = GRAY_SIDE / max(width, height)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _open(data: bytes) -> Image.Image:
    """Read the header, with the parsers of the allowed types only."""
    kind = sniff(data)
    if kind == "":
        raise ImageError("not_an_image", f"{len(data)} bytes that are no known type of image")
    if kind not in FORMATS:
        raise ImageError("unsupported_type", f"{kind} is not read; {', '.join(sorted(FORMATS))} are")
    try:
        return Image.open(io.BytesIO(data), formats=[kind])
    except Image.DecompressionBombError as error:
        raise ImageError("too_many_pixels", str(error)) from error
    except MemoryError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError("truncated", f"the {kind} header is broken or cut short") from error
    except Exception as error:  # parsers of broken files raise nearly anything; only this image must fail
        raise ImageError("truncated", f"the {kind} header is broken: {error or type(error).__name__}") from error


def _pixels_held(image: Image.Image, size: int) -> int:
    """Set the scale of a JPEG to the smallest that still has what the model and the grey copy need; returns the pixels
    that decoding then takes.
    """
    full = image.width * image.height
    with _broken_is_truncated():
        image.draft(None, (max(size, GRAY_SIDE), max(size, GRAY_SIDE)))
    # The decoder of a progressive JPEG keeps coefficients for all pixels, whatever the scale.
    return full if image.info.get("progressive") else image.width * image.height


def _load(image: Image.Image) -> Image.Image:
    with _broken_is_truncated():
        image.load()
    return image


@contextmanager
def _broken_is_truncated() -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # as in _open
        raise ImageError("truncated", f"the image is broken or cut short: {error or type(error).__name__}") from error
