"""What a benchmark reports: tables for the terminal and for `.local/bench.json`. Used by every benchmark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

Cell = str | int | float


@dataclass(frozen=True)
class Report:
    """One table of figures. `notes`: how they were measured, one line each."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def table(self) -> Table:
        """For the terminal; numbers to the right, three significant digits."""
        table = Table(*self.columns, title=self.title, caption="\n".join(self.notes), box=SIMPLE_HEAD)
        table.title_justify = table.caption_justify = "left"
        for column in table.columns[1:]:
            column.justify = "right"
        for row in self.rows:
            table.add_row(*map(text, row))
        return table

    def json(self) -> dict[str, Any]:
        """The same, exact, one object a row."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"title": self.title, "rows": rows, "notes": list(self.notes)}


@dataclass(frozen=True)
class Quantiles:
    """Of `count` samples, by the nearest-rank method: each is a value that was measured."""

    count: int
    p50: float
    p90: float
    p99: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Quantiles:
        """Raises ValueError without samples."""
        if not samples:
            raise ValueError("no samples")
        ordered = sorted(samples)
        p50, p90, p99 = (ordered[math.ceil(part * len(ordered)) - 1] for part in (0.50, 0.90, 0.99))
        return cls(len(ordered), p50, p90, p99)


def text(cell: Cell) -> str:
    """A cell as it is printed."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.1f}" if abs(cell) >= 10 else f"{cell:.2f}"
