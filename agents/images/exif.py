"""What the camera wrote beside the pixels. Called by `decode`; a broken EXIF block does not make an image unusable."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import structlog
from PIL import Image
from PIL.ExifTags import IFD, Base

log = structlog.get_logger(__name__)

UPRIGHT: Final = 1
FORMAT: Final = "%Y:%m:%d %H:%M:%S"


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 … 8; 1 when there is none or it is out of range."""
    value = _tags(image).get(Base.Orientation)
    return value if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT


def taken_at(image: Image.Image) -> str:
    """When the picture was taken, ISO 8601 without zone (cameras write local time); empty when unknown.

    DateTimeOriginal, else DateTimeDigitized, else DateTime. Cameras without a clock write zeros: unknown.
    """
    tags = _tags(image)
    for value in (tags.get(Base.DateTimeOriginal), tags.get(Base.DateTimeDigitized), tags.get(Base.DateTime)):
        if not isinstance(value, str):
            continue
        try:
            return datetime.strptime(value.strip(" \x00"), FORMAT).isoformat(timespec="seconds")
        except ValueError:
            continue  # zeros or free text: the next tag may know better
    return ""


def _tags(image: Image.Image) -> dict[int, Any]:
    try:
        exif = image.getexif()
        return {**exif, **exif.get_ifd(IFD.Exif)}
    except Exception as error:  # Pillow's parser raises many types on broken blocks
        log.info("exif_unreadable", error=repr(error))
        return {}
