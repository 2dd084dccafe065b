"""Runs a role on a wall clock that can be set: `python -m tests.faults.clocks FILE ROLE`. Used by supervised.py.

The file holds the clock's offset in seconds; the process looks at it twice a second. Only the wall clock is patched
(`time.time`, `datetime.now`): the monotonic one, by which timeouts are measured, never steps on a real machine either.
"""

from __future__ import annotations

import datetime as datetime_module
import runpy
import sys
import time
from datetime import datetime as _RealDatetime
from pathlib import Path
from typing import Any, Final

LOOK_SECONDS: Final = 0.5
_real_time: Final = time.time


class Clocks:
    """One clock a role, each ruled by a file in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def set(self, role: str, offset_seconds: int) -> None:
        """Let the role's clock differ from the machine's."""
        draft = self._folder / f"{role}.clock.new"
        draft.write_text(str(offset_seconds))
        draft.replace(self.file(role))

    def file(self, role: str) -> Path:
        """Where the role's offset stands; it need not exist."""
        return self._folder / f"{role}.clock"


class _SteppedClock:
    """`time.time` with the file's offset."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = 0
        self._look_at = 0.0

    def __call__(self) -> float:
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._offset = int(self._file.read_text()) if self._file.exists() else 0
        return _real_time() + self._offset


class _AnyDatetime(type):
    """What C code has made is a datetime, too."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _RealDatetime)


def install(file: Path) -> None:
    """From now on, and for whatever is imported behind this."""
    import asyncpg  # noqa: F401  # first: its C code lays datetimes out as Python's own

    clock = _SteppedClock(file)

    class SteppedDatetime(_RealDatetime, metaclass=_AnyDatetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return _RealDatetime.fromtimestamp(clock(), tz)

    time.time = clock
    datetime_module.datetime = SteppedDatetime  # type: ignore[misc]


if __name__ == "__main__":
    install(Path(sys.argv[1]))
    sys.argv = ["app", sys.argv[2]]
    runpy.run_module("app", run_name="__main__", alter_sys=True)
