"""What a process takes of the machine, and how long the disk takes. Used by the benchmark `scale`."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import IO, Final

FSYNC_SECONDS: Final = 0.25
FSYNC_BYTES: Final = 4_096


async def fsync_often(folder: Path, over: asyncio.Event) -> list[float]:
    """Append a little to a file and wait until the disk has it, again and again; milliseconds of each."""
    took = []
    with (folder / "fsync").open("ab") as file:
        while not over.is_set():
            begun = time.monotonic()
            await asyncio.to_thread(_append, file)
            took.append((time.monotonic() - begun) * 1e3)
            await asyncio.sleep(FSYNC_SECONDS)
    return took


def _append(file: IO[bytes]) -> None:
    file.write(bytes(FSYNC_BYTES))
    file.flush()
    os.fsync(file.fileno())


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (proc(5), fields 14 and 15)."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """The largest resident size of a process so far, MB."""
    with open(f"/proc/{pid}/status") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
