"""Pixels of any mode as 8-bit RGB. Called by `decode`."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

from agents.images.errors import ImageError

WHITE: Final = (255, 255, 255, 255)
DIRECT: Final = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"})
WITH_ALPHA: Final = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})


def to_rgb(image: Image.Image) -> Image.Image:
    """RGB; transparent parts become white, 16-bit grey is scaled (Pillow's own conversion clips it at 255).

    Raises ImageError (unsupported_type) for floating-point and CIELAB pixels, whose range a file does not say.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in WITH_ALPHA or (image.mode in DIRECT and "transparency" in image.info):
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, WHITE), rgba).convert("RGB")
    if image.mode in DIRECT:
        return image.convert("RGB")
    if image.mode.startswith("I"):
        values = np.clip(np.asarray(image), 0, 65535) // 257
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    raise ImageError("unsupported_type", f"pixels of mode {image.mode} are not read")
