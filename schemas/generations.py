"""Which generation of the fold is at work: records on `media.fold.generations`, JSON, partition 0. Pure.

A generation is a Faust app of its own: consumer group, changelog and local tables. The records are kept for ever; the
last ones say which generation folds, and whether another one is being built or about to take over. Written by
`python -m app rebuild --projection tables`, read by the fold's workers at each start and in each generation of their
group, and by whoever asks the fold's group for its offsets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from schemas.errors import StopProcess

GENERATION_KEY: Final = b"fold"
GENERATION_PARTITION: Final = 0

GenerationState = Literal["building", "handing_over", "live", "given_up"]


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a generation. `release`: whose fold has built its tables, or brought them forward.

    `offsets`: of a live one, partition → offset of the log from which it goes on; its predecessor has sent what follows
    from all that lies before. `previous`: the generation it takes over from. `versions_ends`: partition → end of
    `media.pet-versions` when it took over.
    """

    format: int = 1
    generation: int
    state: GenerationState
    release: str
    time: str
    previous: int = 0
    offsets: dict[str, int] = {}
    versions_ends: dict[str, int] = {}


FIRST: Final = Generation(generation=1, state="live", release="0", time="")
"""What folds while there is no record."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the records say together. `under_way`: what is built, or about to take over, now. `kept`: the generation
    that the live one can hand back to, 0 for none. `highest`: number used.
    """

    live: Generation
    under_way: Generation | None
    kept: int
    highest: int

    @property
    def handing_over(self) -> bool:
        """Whether nobody may fold: the live generation is to end, the next one not yet to begin."""
        return self.under_way is not None and self.under_way.state == "handing_over"


def standing(records: Iterable[Generation]) -> Standing:
    """Read the records, oldest first."""
    live, last, kept, highest = FIRST, FIRST, 0, FIRST.generation
    for record in records:
        last, highest = record, max(highest, record.generation)
        if record.state == "live":
            live, kept = record, record.previous
        elif record.state == "given_up" and record.generation == kept:
            kept = 0
    return Standing(live, last if last.state in ("building", "handing_over") else None, kept, highest)


def encode_generation(record: Generation) -> bytes:
    """The bytes on the topic."""
    return msgspec.json.encode(record)


def decode_generation(value: bytes) -> Generation:
    """Inverse of `encode_generation`. Raises StopProcess for what is none: nobody may guess who folds."""
    try:
        record = msgspec.json.decode(value, type=Generation)
    except msgspec.MsgspecError as error:
        raise StopProcess(f"media.fold.generations holds what is no record of a generation: {error}") from error
    if record.format != 1:
        raise StopProcess(f"media.fold.generations holds a record of a newer release (format {record.format})")
    return record
