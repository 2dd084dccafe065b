"""What a benchmark reports: tables for the terminal and a JSON file. Used by every benchmark and the evaluation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

Cell = str | int | float


@dataclass(frozen=True)
class Report:
    """One table of figures. `notes`: how they were measured, one line each. `digits`: decimals of what is below 10."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    digits: int = 2

    def table(self) -> Table:
        """For the terminal; numbers to the right, three significant digits."""
        table = Table(*self.columns, title=self.title, caption="\n".join(self.notes), box=SIMPLE_HEAD)
        table.title_justify = table.caption_justify = "left"
        for column in table.columns[1:]:
            column.justify = "right"
        for row in self.rows:
            table.add_row(*(text(cell, self.digits) for cell in row))
        return table

    def json(self) -> dict[str, Any]:
        """The same, exact, one object a row; what is not a number is null."""
        exact = [[None if isinstance(cell, float) and math.isnan(cell) else cell for cell in row] for row in self.rows]
        rows = [dict(zip(self.columns, row, strict=True)) for row in exact]
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


def text(cell: Cell, digits: int = 2) -> str:
    """A cell as it is printed; `digits`: decimals of a fraction below 10."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, float) and math.isnan(cell):
        return "–"
    if isinstance(cell, int) or abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.1f}" if abs(cell) >= 10 else f"{cell:.{digits}f}"


def save(path: Path, name: str, reports: Sequence[Report], machine: Mapping[str, Any], took: float) -> None:
    """Replace what the file says of `name`, keep the rest. `took`: seconds."""
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    results[name] = {
        "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(took, 1),
        "machine": machine,
        "reports": [report.json() for report in reports],
    }
    path.parent.mkdir(exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    draft.replace(path)
