"""What a job says of a single image, beside its pixels. Given in `payload.images`, carried by commands and facts.

Read by `bridges.fields`, attached to the image by `agents.insights`, used by the fold.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from schemas.bounds import MAX_NAME, check_text
from schemas.errors import InvalidInput


class Insight(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`None` stands for what was not said. `quality_score`: 0…1. `pose`, `label`: at most 128 characters.

    `taken_at`: ISO 8601, with a zone or without one.
    """

    quality_score: float | None = None
    pose: str | None = None
    label: str | None = None
    taken_at: str | None = None

    def __bool__(self) -> bool:
        """Whether it says anything."""
        return self != NOTHING


NOTHING = Insight()


def check_insight(insight: Insight, field: str) -> None:
    """Raises InvalidInput naming the part of `field` that is out of its bounds."""
    score = insight.quality_score
    if score is not None:
        check_fraction(score, f"{field}.quality_score")
    check_text(insight.pose or "", f"{field}.pose", MAX_NAME)
    check_text(insight.label or "", f"{field}.label", MAX_NAME)
    if insight.taken_at is not None:
        iso_time(insight.taken_at, f"{field}.taken_at")


def check_fraction(value: float, field: str) -> float:
    """Return `value`. Raises InvalidInput naming `field` when it does not lie in 0…1; NaN lies nowhere."""
    if not 0 <= value <= 1:
        raise InvalidInput(field, "must lie in 0…1")
    return value


def iso_time(text: str, field: str) -> str:
    """The time as `datetime.isoformat` writes it, with its zone if it has one. Raises InvalidInput naming `field`."""
    check_text(text, field, MAX_NAME)
    try:
        return datetime.fromisoformat(text).isoformat()
    except (ValueError, OverflowError):
        raise InvalidInput(field, "is not an ISO 8601 time") from None


def wall_time(taken_at: str) -> str:
    """What a clock beside the camera showed, as EXIF has it: without zone, in whole seconds."""
    return datetime.fromisoformat(taken_at).replace(tzinfo=None).isoformat(timespec="seconds")
