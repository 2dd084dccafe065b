"""How many records of how many are done. Told to `app.progress.Display` by export, check and import."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from app.progress import Display, Figures


@dataclass
class Count:
    """Shows itself as it grows; `now` may be replaced by a test."""

    display: Display
    step: str
    total: int
    done: int = 0
    now: Callable[[], float] = time.monotonic
    begun: float = field(init=False)

    def __post_init__(self) -> None:
        self.begun = self.now()

    def add(self, records: int) -> None:
        """So many more are done."""
        self.done += records
        self.display.show(self.step, self.figures)

    def end(self) -> None:
        """Nothing more comes."""
        self.display.end_step(self.step, self.figures())

    def figures(self) -> Figures:
        """done, total, records_per_second, seconds_left (None while nothing is known)."""
        seconds = self.now() - self.begun
        return {
            "done": self.done,
            "total": self.total,
            "records_per_second": round(self.done / seconds, 1) if seconds > 0 else 0.0,
            "seconds_left": round((self.total - self.done) * seconds / self.done, 1) if self.done else None,
        }
