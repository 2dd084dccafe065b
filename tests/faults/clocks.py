"""Wall clocks of the roles that can be set, by libfaketime where the machine has it. Used by supervised.py.

Only the wall clock: the monotonic one, by which timeouts are measured, never steps on a real machine either.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

LIBRARIES: Final = tuple(
    Path(folder, "libfaketimeMT.so.1")
    for folder in (
        "/usr/lib/x86_64-linux-gnu/faketime",
        "/usr/lib/faketime",
        "/usr/lib64/faketime",
        "/usr/local/lib/faketime",
    )
)


def library() -> Path | None:
    """The library to be loaded into the roles; None where there is none."""
    return next((path for path in LIBRARIES if path.exists()), None)


class Clocks:
    """One clock a role, each ruled by a file in `folder` that its processes read once a second."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._library = library()

    @property
    def settable(self) -> bool:
        """Whether this machine can do it."""
        return self._library is not None

    def set(self, role: str, offset_seconds: int) -> None:
        """Let the role's clock differ from the machine's."""
        draft = self._folder / f"{role}.clock.new"
        draft.write_text(f"{offset_seconds:+d}\n")
        draft.replace(self._file(role))

    def env(self, role: str) -> dict[str, str]:
        """What the role's processes need in their environment."""
        if self._library is None:
            return {}
        if not self._file(role).exists():
            self.set(role, 0)
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file(role)),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def _file(self, role: str) -> Path:
        return self._folder / f"{role}.clock"
