"""What a verification of a partition is given, and what it gives. Used by `partition`, and by `app.verify`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from projections.verify.findings import Difference, Finding, Place

PAUSE_SECONDS: Final = 2.0
"""Before another look, so that who is behind may follow."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be verified. `group`: the fold's consumer group. `folder`: for the copies; it is removed.

    `only`: one pet; all if None.
    """

    partition: int
    log: str
    versions: str
    changelog: str
    group: str
    folder: Path
    only: str | None = None
    pause_seconds: float = PAUSE_SECONDS


@dataclass(slots=True)
class Verified:
    """What came of it. `in_table`, `in_postgres`, `in_redis`: of how many pets something was compared there.

    `made_up`: how many pets are samples, in Postgres alone; they were not compared.
    `unsettled`: pets that differed each time they were looked at, but never twice the same.
    """

    partition: int
    events: int = 0
    pets: int = 0
    in_table: int = 0
    in_postgres: int = 0
    in_redis: int = 0
    made_up: int = 0
    findings: list[Finding] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Seen:
    """What one look has found. `again`: pets to be looked at again in any case."""

    findings: dict[tuple[str, Place], Finding] = field(default_factory=dict)
    again: set[str] = field(default_factory=set)

    def add(self, pet_id: str, place: Place, first: Difference, number: int) -> None:
        """Note the first difference of a pet in a place, and how many there are."""
        self.findings[pet_id, place] = Finding(
            pet_id, place, first.version, first.offset, first.field, first.expected, first.found, number
        )


def is_same(before: Finding | None, now: Finding) -> bool:
    """Whether a finding was there at the look before."""
    return before is not None and before.field == now.field
