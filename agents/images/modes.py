"""Pixels of any mode as 8-bit RGB. Called by `decode`."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

from agents.images.errors import ImageError

WHITE: Final = (255, 255, 255, 255)
DIRECT: Final = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"})
WITH_ALPHA: Final = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})


STRIP_ROWS: Final = 256


def to_rgb(image: Image.Image) -> Image.Image:
    """RGB; transparent parts become white, 16-bit grey is scaled (Pillow's own conversion clips it at 255).

    Works strip by strip, so that at any time no more is held than the image, its result and a few rows.
    Raises ImageError (unsupported_type) for floating-point and CIELAB pixels, whose range a file does not say.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if not (image.mode in DIRECT or image.mode in WITH_ALPHA or image.mode.startswith("I")):
        raise ImageError("unsupported_type", f"pixels of mode {image.mode} are not read")
    rgb = Image.new("RGB", image.size)
    for top in range(0, image.height, STRIP_ROWS):
        box = (0, top, image.width, min(top + STRIP_ROWS, image.height))
        rgb.paste(_convert(image.crop(box)), box)
    return rgb


def _convert(strip: Image.Image) -> Image.Image:
    if strip.mode in WITH_ALPHA or (strip.mode in DIRECT and "transparency" in strip.info):
        rgba = strip.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, WHITE), rgba).convert("RGB")
    if strip.mode in DIRECT:
        return strip.convert("RGB")
    values = np.clip(np.asarray(strip), 0, 65535) // 257
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")
