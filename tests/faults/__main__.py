"""`python -m tests.faults`: attacks the service, runs the controls, or makes the tables. Called by `make faults`.

Each seed's result is appended to docs/reliability-runs.jsonl, unless protections were off or faults left out.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

import structlog

from tests.faults import results
from tests.faults.controls import run_controls
from tests.faults.registry import FAULTS, chosen
from tests.faults.run import Result, as_row, run_seed
from tests.faults.without import PROTECTIONS


def main() -> int:
    """Exit code: 0 when all is as it should be."""
    options = _arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    if options.table:
        results.write_page(results.read())
        print(f"{results.PAGE}: made from {len(results.read())} runs")
        return 0
    if options.controls:
        return 0 if asyncio.run(_controls(options)) else 1
    return asyncio.run(_seeds(options))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds (default 1)")
    parser.add_argument("--first", type=int, default=1, help="the first seed (default 1)")
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of load a seed (default 60)")
    parser.add_argument("--only", default="", help=f"comma list of faults or beginnings of names: {', '.join(FAULTS)}")
    parser.add_argument("--without", default="", choices=["", *PROTECTIONS], help="run without a protection")
    parser.add_argument("--controls", action="store_true", help="expect red without each protection (or --without's)")
    parser.add_argument("--table", action="store_true", help="make the tables of docs/reliability.md, run nothing")
    parser.add_argument("--keep", type=Path, default=Path(".local/faults"), help="folder for the logs of red seeds")
    return parser.parse_args()


async def _controls(options: argparse.Namespace) -> bool:
    return await run_controls(options.without, options.seconds, _say, options.keep / "controls", _say)


async def _seeds(options: argparse.Namespace) -> int:
    names = [name for name in options.only.split(",") if name]
    red = 0
    for seed in range(options.first, options.first + options.seeds):
        _say(f"seed {seed}")
        result = await run_seed(
            seed, options.seconds, chosen(names), off=options.without, say=_say, keep=options.keep / str(seed)
        )
        red += not result.passed
        if not names and not options.without:
            results.append(as_row(result, results.current_commit()))
        _say(_summary(result))
    _say(f"{options.seeds - red} of {options.seeds} seeds passed")
    return 1 if red else 0


def _summary(result: Result) -> str:
    slowest = {name: max(seconds) for name, seconds in result.recovery.items()}
    lines = [
        f"seed {result.seed}: {'passed' if result.passed else 'FAILED'}, {result.jobs} jobs,"
        f" {sum(result.struck.values())} faults",
        f"  duplicates  {result.repeated}",
        f"  counts      {result.counts}",
        f"  exits       {result.exits}",
        f"  recovery    longest seconds: {slowest}",
    ]
    return "\n".join([*lines, *(f"  note        {note}" for note in result.notes)])


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
