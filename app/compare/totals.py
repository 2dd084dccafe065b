"""What a comparison has come to: one pet's result, and the sum of all. Pure. Called by `app.compare.run`, `.report`."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from app.compare.agreement import Agreement

Outcome = Literal["both", "missing_here", "missing_there", "neither", "error"]
WORST: Final = 50
"""How many pets a report names."""


@dataclass(frozen=True, kw_only=True)
class PetResult:
    """One pet. `error`: which side could not be asked, and why; then nothing else is known.

    `lists_photos`: whether the predecessor's answer names any; without, there is nothing to agree with.
    """

    pet_id: str
    outcome: Outcome
    lists_photos: bool = False
    agreement: Agreement | None = None
    seconds_there: float | None = None
    seconds_here: float | None = None
    updated_there: str = ""
    updated_here: str = ""
    error: str = ""

    def score(self) -> float | None:
        """What the pet counts as: the agreement of its grouping; 0 when it is missing here or could not be asked about;
        None, not at all, when the predecessor lists no photo of it.
        """
        if self.outcome == "error":
            return 0.0
        if not self.lists_photos:
            return None
        return self.agreement.ari if self.agreement else 0.0

    def fields(self) -> dict[str, Any]:
        """As a line of JSON tells it."""
        found = {name: value for name, value in vars(self).items() if name not in {"agreement", "lists_photos"}}
        return {**found, "score": self.score(), **(msgspec.to_builtins(self.agreement) if self.agreement else {})}


@dataclass
class Totals:
    """The sum of what was added. `worst`: the pets with the lowest scores, each below 1."""

    pets: dict[Outcome, int] = field(
        default_factory=lambda: {"both": 0, "missing_here": 0, "missing_there": 0, "neither": 0, "error": 0}
    )
    same: int = 0
    photos_there: int = 0
    photos_missing: int = 0
    photos_only_here: int = 0
    clusters_there: int = 0
    clusters_here: int = 0
    heroes: int = 0
    heroes_same: int = 0
    heroes_known: int = 0
    seconds_there: list[float] = field(default_factory=list)
    seconds_here: list[float] = field(default_factory=list)
    _scores: list[float] = field(default_factory=list)
    _worst: list[tuple[float, int, PetResult]] = field(default_factory=list)

    def add(self, result: PetResult) -> None:
        """Count one pet."""
        self.pets[result.outcome] += 1
        score = result.score()
        if score is not None:
            self._scores.append(score)
            if score < 1:
                # By the lowest score, then by who came first; the heap's head is what gives way.
                entry = (-score, -self.asked, result)
                (heapq.heappush if len(self._worst) < WORST else heapq.heappushpop)(self._worst, entry)
        for seconds, all_seconds in (
            (result.seconds_there, self.seconds_there),
            (result.seconds_here, self.seconds_here),
        ):
            if seconds is not None:
                all_seconds.append(seconds)
        if result.agreement is not None:
            self._add_agreement(result.agreement)

    @property
    def asked(self) -> int:
        """How many pets."""
        return sum(self.pets.values())

    @property
    def compared(self) -> int:
        """How many of them count."""
        return len(self._scores)

    @property
    def agreement(self) -> float | None:
        """The mean of what pets count as; None when none does."""
        return sum(self._scores) / len(self._scores) if self._scores else None

    def worst(self) -> list[PetResult]:
        """The lowest score first."""
        return [result for *_, result in sorted(self._worst, key=lambda entry: entry[:2], reverse=True)]

    def fields(self) -> dict[str, Any]:
        """As the last line of JSON tells it."""
        return {
            "asked": self.asked,
            "compared": self.compared,
            "agreement": self.agreement,
            "pets": dict(self.pets),
            "same": self.same,
            "photos": {"there": self.photos_there, "missing": self.photos_missing, "only_here": self.photos_only_here},
            "clusters": {"there": self.clusters_there, "here": self.clusters_here},
            "heroes": {"there": self.heroes, "same": self.heroes_same, "known": self.heroes_known},
            "seconds": {"there": quantiles(self.seconds_there), "here": quantiles(self.seconds_here)},
        }

    def _add_agreement(self, found: Agreement) -> None:
        self.same += found.ari == 1 and not found.missing
        self.photos_there += found.photos_there
        self.photos_missing += len(found.missing)
        self.photos_only_here += found.only_here
        self.clusters_there += found.clusters_there
        self.clusters_here += found.clusters_here
        self.heroes += found.heroes
        self.heroes_same += found.heroes_same
        self.heroes_known += found.heroes_known


def quantiles(seconds: list[float]) -> dict[str, float] | None:
    """The median, the 95th percentile (nearest rank) and the longest; None of nothing."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    last = len(ordered)
    return {"p50": ordered[(last + 1) // 2 - 1], "p95": ordered[-(-last * 95 // 100) - 1], "max": ordered[-1]}
