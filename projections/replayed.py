"""What the log's facts come to for the projections: versions, purges, and what became of decisions. Pure.

Used by whatever folds the log again for rows: gaps (`projections.gap_replay`) and rebuilds.
"""

from __future__ import annotations

from schemas.codec import decode_message
from schemas.decisions import DecisionSettled
from schemas.versions import PetErased, PetVersion
from tables.replay import LogReplay

Change = PetVersion | PetErased | DecisionSettled
"""A message of `media.pet-versions`."""


def feed(replay: LogReplay, offset: int, key: bytes | None, value: bytes | None) -> list[Change]:
    """Fold the next record; what it led to, in the order in which the fold sends it. Raises as `LogReplay.feed`."""
    outputs = replay.apply(offset, key, value)
    return [decode_message(output.value) for output in outputs if output.channel in ("versions", "decisions")]
