"""A worker's local state is deleted while it is down, or its disk is full."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from pathlib import Path
from typing import ClassVar, Final

from tests.faults.fault import Fault
from tests.faults.stack import Stack
from tests.faults.waiting import until

BALLAST: Final = "ballast"


class StateLost(Fault):
    """The worker is killed, and comes back on an empty folder."""

    family: ClassVar[str] = "state_lost"

    async def inject(self, stack: Stack) -> None:
        """Kill it, keep it down, empty its folder."""
        service = stack.service
        service.pause(self.target)
        service.send(self.target, signal.SIGKILL, "state_lost")
        await until(lambda: not service.runs(self.target))
        await asyncio.to_thread(_empty, service.state_folder(self.target))

    async def heal(self, stack: Stack) -> None:
        """Let it be restarted."""
        stack.service.resume(self.target)


class DiskFull(Fault):
    """No space is left for the worker's state; then there is again."""

    family: ClassVar[str] = "disk_full"

    @classmethod
    def unavailable(cls, stack: Stack) -> str:
        """Needs a small file system of its own, since nobody fills a real disk for a test."""
        missing = stack.small_disks_missing()
        return f"no small file system could be mounted for {', '.join(missing)}" if missing else ""

    async def inject(self, stack: Stack) -> None:
        """Fill it up."""
        await asyncio.to_thread(_fill, stack.service.state_folder(self.target) / BALLAST)

    async def heal(self, stack: Stack) -> None:
        """Make room."""
        (stack.service.state_folder(self.target) / BALLAST).unlink(missing_ok=True)


def _empty(folder: Path) -> None:
    """Delete what is in the folder; the folder itself may be a mount point."""
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _fill(path: Path) -> None:
    """Write until the file system takes not one byte more."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"\0" * size):
                    pass
