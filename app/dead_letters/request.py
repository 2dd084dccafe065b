"""What `python -m app dead-letters` was asked for. Made by `app.commands.dead_letters`, done by `console`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from projections.dead_letter_reader import LetterFilter


@dataclass(frozen=True, kw_only=True)
class Request:
    """The command line, parsed. Without `ids`, requeue and discard are about all `letters`, with `yes` only."""

    verb: Literal["list", "show", "requeue", "discard"]
    ids: tuple[UUID, ...]
    letters: LetterFilter
    limit: int
    cursor: str | None
    who: str
    why: str
    yes: bool
    as_json: bool
