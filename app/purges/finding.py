"""What the check of a purge has found. Made by the `look_into_*` modules, shown by `app.purges.console`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import msgspec

Verdict = Literal["left", "until", "unseen"]
"""`left`: is there and should not be. `until`: goes by itself. `unseen`: nobody could look."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something of the pet in some place."""

    place: str
    verdict: Verdict
    what: str


@dataclass(frozen=True)
class Purge:
    """The pet's last purge, as the log tells of it.

    `offset`: of its fact. `last_version`: -1 when neither log nor Postgres knows. `images`: those that have come since.
    """

    pet_id: str
    purge_id: str
    offset: int
    purged_at: datetime
    accepted_until: datetime
    last_version: int
    images: frozenset[str] = field(default=frozenset())


def offsets_text(offsets: list[int], most: int = 10) -> str:
    """The first of many offsets."""
    shown = ", ".join(map(str, offsets[:most]))
    return f"{shown} and {len(offsets) - most} more" if len(offsets) > most else shown
