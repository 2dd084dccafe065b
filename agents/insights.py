"""Puts what a command says of an image onto the image. Pure; called by `agents.embed`."""

from __future__ import annotations

import msgspec

from schemas.facts import EmbeddedImage
from schemas.insights import Insight, wall_time


def told(image: EmbeddedImage, insight: Insight | None) -> EmbeddedImage:
    """The image with its insight, and with the time that the insight gives where the file has none."""
    if not insight:
        return image
    taken_at = image.taken_at or (wall_time(insight.taken_at) if insight.taken_at else "")
    return msgspec.structs.replace(image, insight=insight, taken_at=taken_at)
