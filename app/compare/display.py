"""What an operator sees of a comparison: a bar and a table, or a line of JSON for each pet. Used by the command."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from app.compare.report import rows, verdict
from app.compare.totals import PetResult, Totals
from schemas.errors import InvalidInput


class Display:
    """Open it for as long as pets are compared."""

    def __init__(self, out: TextIO, *, as_json: bool) -> None:
        self._out = out
        self._json = as_json
        self._console = Console(file=out, highlight=False)
        self._bar = Progress(
            TextColumn("{task.fields[errors]} errors"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=as_json or not out.isatty(),
        )
        self._task = self._bar.add_task("", total=None, errors=0)
        self._errors = 0

    def __enter__(self) -> Display:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, pets: int) -> None:
        """How many pets there are."""
        self._bar.update(self._task, total=pets)

    def refused(self, line: int, error: InvalidInput) -> None:
        """A line that names no pet."""
        self._event("refused", line=line, field=error.field, reason=error.reason)
        self._say(f"line {line}: {error.field}: {error.reason}")

    def pet(self, result: PetResult) -> None:
        """One pet's result."""
        self._event("pet", **result.fields())
        if result.error:
            self._errors += 1
            self._say(f"{result.pet_id}: {result.error}")
        self._bar.update(self._task, advance=1, errors=self._errors)

    def end(self, totals: Totals, least: float, *, stopped: bool) -> None:
        """The figures, and whether they are as demanded."""
        enough, sentence = verdict(totals, least)
        self._event("end", **totals.fields(), min_agreement=least, enough=enough, stopped=stopped)
        if self._json:
            return
        table = Table(show_header=False)
        for name, value in rows(totals):
            table.add_row(name, value)
        self._console.print(table)
        self._say(sentence + (" (stopped before the end)" if stopped else ""))

    def _event(self, name: str, **fields: Any) -> None:
        if self._json:
            self._out.write(json.dumps({"event": name, **fields}) + "\n")
            self._out.flush()

    def _say(self, text: str) -> None:
        if not self._json:
            self._console.print(escape(text), soft_wrap=True)
