"""Real photographs from the test dependencies, and files made from them. Used by the tests of images and models."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

SKIMAGE = ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png", "motorcycle_left.png", "camera.png", "coins.png")
SKLEARN = ("china.jpg", "flower.jpg")


def package_folder(package: str) -> Path:
    """Folder of an installed package."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def photo_path(name: str) -> Path:
    """Path of a photo by file name."""
    package, folder = ("sklearn", "datasets/images") if name in SKLEARN else ("skimage", "data")
    return package_folder(package) / folder / name


def photo(name: str) -> Image.Image:
    """The photo as RGB."""
    with Image.open(photo_path(name)) as image:
        return image.convert("RGB")


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """The image as a file of a type."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
