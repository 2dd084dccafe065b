"""`make bench`: runs the benchmarks, prints their tables and writes them to `.local/bench.json`.

`python -m tests.bench [name …]` runs some of them; see docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Final

import structlog
from rich.console import Console

from tests.bench.report import Report, save

BENCHMARKS: Final = {
    "latency": "tests.bench.latency",
    "bytes": "tests.bench.bytes_written",
    "fold": "tests.bench.fold",
    "embed": "tests.bench.embed",
    "restart": "tests.bench.restart",
    "reads": "tests.bench.reads",
    "similar": "tests.bench.similar",
    "scale": "tests.bench.scale",
}
RESULTS: Final = Path(__file__).parents[2] / ".local" / "bench.json"


def main(argv: list[str]) -> int:
    """0: all ran. 130: interrupted; what had run is written."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure the service on this machine.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHMARKS)}; all when none is named")
    names = parser.parse_args(argv).names or list(BENCHMARKS)
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    # numpy reads it once, at its import: with more threads a benchmark would measure the scheduler.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[_drop])
    # A topic that was made this moment has no leader yet: the client says so, and tries again.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(machine_line(), highlight=False)
    try:
        for name in names:
            _run(name, console)
    except KeyboardInterrupt:
        console.print("interrupted")
        return 130
    console.print(f"figures: {RESULTS}", highlight=False, markup=False)
    return 0


def _run(name: str, console: Console) -> None:
    started, facts = time.monotonic(), machine()
    console.rule(name, align="left")
    reports: list[Report] = import_module(BENCHMARKS[name]).run(console)
    for report in reports:
        console.print(report.table())
    took = time.monotonic() - started
    console.print(f"{name}: {took:.0f} s\n", highlight=False)
    save(RESULTS, name, reports, facts, took)


def machine() -> dict[str, str | int | float]:
    """What the figures were measured on; `load` is the average of the last minute."""
    models = {line.partition(":")[2].strip() for line in _cpu_info() if line.startswith("model name")}
    return {
        "cpu": ", ".join(sorted(models)) or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "code": _code(),
        "load": round(os.getloadavg()[0], 2),
    }


def _code() -> str:
    """The commit that is measured; ``-dirty`` behind it when files differ from it."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, cwd=RESULTS.parents[1], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"  # a folder without git can be measured, too
    return done.stdout.strip()


def _cpu_info() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def machine_line() -> str:
    """The same in a line."""
    return "{cores} cores of {cpu}, {system}, Python {python}, load {load}, code {code}".format(**machine())


def _drop(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """The servers' log lines would tear the progress bars; what goes wrong raises."""
    raise structlog.DropEvent


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
