"""What an operator sees of a backfill: a bar, or a line of JSON for each event. Used by `app.backfill.run`."""

from __future__ import annotations

import json
import time
from types import TracebackType
from typing import Any, Final, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from app.backfill.progress_file import Done

EVERY_SECONDS: Final = 1.0


class Display:
    """`total_bytes`: of the file; None for a pipe, which has no end that could be known."""

    def __init__(self, out: TextIO, *, as_json: bool, total_bytes: int | None) -> None:
        self._out = out
        self._json = as_json
        self._console = Console(file=out, highlight=False)
        self._total = total_bytes
        self._told_at = 0.0
        self._bar = Progress(
            TextColumn("{task.fields[jobs]} jobs, {task.fields[refused]} refused"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=as_json or not out.isatty(),
        )
        self._task = self._bar.add_task("", total=total_bytes, jobs=0, refused=0)

    def __enter__(self) -> Display:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def progress(self, done: Done, bytes_read: int) -> None:
        """Where it stands."""
        self._bar.update(self._task, completed=bytes_read, jobs=done.jobs, refused=done.refused)
        if time.monotonic() >= self._told_at:
            self._told_at = time.monotonic() + EVERY_SECONDS
            self._event("progress", **_counts(done), bytes=bytes_read, total_bytes=self._total)

    def refused(self, line: int, field: str, reason: str) -> None:
        """A line that is no job."""
        self._event("refused", line=line, field=field, reason=reason)
        self._say(f"line {line}: {field}: {reason}")

    def waiting(self, reason: str, seconds: float) -> None:
        """The broker does not confirm."""
        self._event("waiting", reason=reason, retry_in=seconds)
        self._say(f"Kafka: {reason}; trying again")

    def end(self, done: Done, before: Done, *, dry: bool) -> None:
        """What this run has done, and what is done in all: `before` is what earlier runs have done of it."""
        new = {name: number - _counts(before)[name] for name, number in _counts(done).items()}
        self._event("end", **new, in_all=_counts(done), dry_run=dry)
        verb = "would be submitted" if dry else "submitted"
        if before.lines and not new["lines"]:
            self._say(f"nothing new: all {done.lines} lines were done before")
        else:
            self._say(_told(new, verb))
        if before.lines:
            self._say(f"in all, with the runs before: {_told(_counts(done), verb)}")

    def _event(self, name: str, **fields: Any) -> None:
        if self._json:
            self._out.write(json.dumps({"event": name, **fields}) + "\n")
            self._out.flush()

    def _say(self, text: str) -> None:
        if not self._json:
            self._console.print(escape(text), soft_wrap=True)


def _counts(done: Done) -> dict[str, int]:
    return {
        "lines": done.lines,
        "jobs": done.jobs,
        "commands": done.commands,
        "images": done.images,
        "refused": done.refused,
    }


def _told(counts: dict[str, int], verb: str) -> str:
    jobs = "{jobs} jobs of {images} images in {commands} commands".format(**counts)
    return f"{jobs} {verb}, {counts['refused']} of {counts['lines']} lines refused"
