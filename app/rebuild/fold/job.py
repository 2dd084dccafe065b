"""What a process needs to know to build or compare one partition; may be sent to another one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from projections.fold_state import FoldState
from schemas.errors import StopProcess

LOCKED_SECONDS: Final = 10.0
"""How long rows may be held by a process that outlived its parent; it ends itself much sooner."""


@dataclass(frozen=True, slots=True)
class FoldJob:
    """`log`, `keys_topic`, `changelog`, `live_changelog`: topics. `end`: offset of the log up to which the live fold
    has committed.

    `folder`: of this partition. `restore_at`: the tables were there before and go on from this offset of the log, with
    what their changelog holds; -1: from nothing.
    """

    bootstrap_servers: str
    log: str
    keys_topic: str
    changelog: str
    live_changelog: str
    partition: int
    end: int
    folder: Path
    restore_at: int = -1

    def open_rows(self) -> FoldState:
        """The rows that are built."""
        return open_patiently(self.folder / "built")

    def open_live(self) -> FoldState:
        """The live fold's rows; their offset is the changelog's."""
        return open_patiently(self.folder / "live")


def open_patiently(folder: Path) -> FoldState:
    """Open rows, also when a process that was left over still holds them. Raises StopProcess when it does not end."""
    deadline = time.monotonic() + LOCKED_SECONDS
    while True:
        try:
            return FoldState(folder)
        except Exception as error:  # rocksdict has no other type
            if "lock" not in str(error).lower():
                raise
            if time.monotonic() > deadline:
                raise StopProcess(f"another process holds {folder}: {error}") from error
            time.sleep(0.1)
