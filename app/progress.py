"""What the operator sees of long work: a bar with rate and time left, or a JSON line a second.

Used by rebuilds, `app.verify`, `app.whatif` and `app.backup`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from projections.shadow.compare import Comparison
from projections.shadow.runs import Mark

EVERY_SECONDS: Final = 1.0
PER: Final = "per_second"

Figures = dict[str, Any]


@dataclass
class Tally:
    """The marks of all partitions, and since when they were counted."""

    marks: dict[int, Mark] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)

    def told(self, mark: Mark) -> None:
        """Take a partition's newest mark."""
        self.marks[mark.partition] = mark

    def figures(self) -> dict[str, Any]:
        """events, images, offsets done and in all, events_per_second, seconds_left (None while nothing is known)."""
        marks = self.marks.values()
        done, total = sum(mark.next_offset for mark in marks), sum(mark.end_offset for mark in marks)
        seconds = time.monotonic() - self.begun
        events = sum(mark.events for mark in marks)
        rate = events / seconds if seconds > 0 else 0.0
        return {
            "events": events,
            "versions": sum(mark.versions for mark in marks),
            "images": sum(mark.images for mark in marks),
            "done": done,
            "total": total,
            "events_per_second": round(rate, 1),
            "seconds_left": round((total - done) * seconds / done, 1) if done else None,
        }


class Display:
    """`say` for a step, `show` for progress within one, `following` for that of `doing`, of which a `Tally` tells.

    `as_json`: a line of JSON each, for programs.
    """

    def __init__(self, out: TextIO, *, as_json: bool, doing: str = "copying") -> None:
        self._out = out
        self._as_json = as_json
        self._doing = doing
        self._console = Console(file=out, highlight=False)
        self._bar = self._new_bar(disable=as_json)
        self._task: Any = None
        self._next = 0.0
        self.listener: Callable[[str, dict[str, Any]], None] = lambda step, details: None
        """Told of each step and its figures, too."""

    def _new_bar(self, *, disable: bool) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}/s"),
            TimeRemainingColumn(),
            console=self._console,
            disable=disable,
        )

    def say(self, step: str, **details: Any) -> None:
        """A step and what came of it."""
        self.listener(step, details)
        if self._as_json:
            print(json.dumps({"step": step, **details}), file=self._out, flush=True)
        else:
            told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in details.items())
            self._console.print(f"{step}{': ' if told else ''}{told}", soft_wrap=True)

    def compared(self, found: Comparison) -> None:
        """What differs between rows that were made and the live ones."""
        self.say("compared", pets=found.pets, differing=found.differing)
        for each in found.differences:
            where = f"from version {each.first_version}" if each.first_version else "one side lacks it"
            self.say("differs", pet=each.pet_id, tables=" ".join(each.parts), where=where)

    def following(self, tally: Tally) -> Callable[[Mark], None]:
        """What takes marks and shows them, at most once a second; then `end`."""

        def told(mark: Mark) -> None:
            tally.told(mark)
            self.show(self._doing, tally.figures)

        return told

    def end(self, tally: Tally) -> None:
        """Show the last figures and leave the bar as it is."""
        self.end_step(self._doing, tally.figures())

    def step(self, name: str, done: int, total: int, seconds: float) -> None:
        """How far something is that counts one thing, at most once a second but for its end; then `stop`."""
        rate = done / seconds if seconds > 0 else 0.0
        left = round((total - done) * seconds / done, 1) if done else None
        figures = {"done": done, "total": total, "per_second": round(rate, 1), "seconds_left": left}
        if done >= total:
            self._next = 0.0
        self.show(name, lambda: figures)

    def show(self, step: str, figures: Callable[[], Figures]) -> None:
        """How far a step is, at most once a second. The figures hold `done`, `total` and one `…per_second`."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY_SECONDS
            self._show(step, figures())

    def end_step(self, step: str, figures: Figures) -> None:
        """Show a step's last figures and leave its bar as it is."""
        self._show(step, figures)
        self.stop()

    def stop(self) -> None:
        """Leave the bar as it is; what comes next gets another one."""
        self._bar.stop()
        self._bar, self._task = self._new_bar(disable=self._as_json), None

    def _show(self, step: str, figures: Figures) -> None:
        self.listener(step, figures)
        if self._as_json:
            print(json.dumps({"step": step, **figures}), file=self._out, flush=True)
            return
        name, value = next((name, value) for name, value in figures.items() if name.endswith(PER))
        rate = f"{value:,.0f} {name.removesuffix(PER).rstrip('_')}".strip()
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task(step, total=None, rate="0")
        self._bar.update(self._task, completed=figures["done"], total=figures["total"], rate=rate)
