"""`make eval`: evaluates the clustering on labelled sets, prints tables and writes them to `.local/eval.json`.

`python -m tests.evaluation [name …]` runs some of it; see docs/evaluation.md.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from importlib import import_module
from typing import Final

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read once, when numpy is imported: figures of cost are those of a thread

import msgspec
import structlog
from rich.console import Console
from rich.progress import Progress

from schemas.errors import ServiceError
from schemas.facts import Policy
from tables.engines import engine_of
from tests.bench.__main__ import machine, machine_line
from tests.bench.report import save
from tests.evaluation.cache import ROOT, LabelledAlbum, load
from tests.evaluation.engines import POLICIES
from tests.evaluation.photographs import Undownloadable

EVALUATIONS: Final = ("sets", "clusters", "order", "heroes", "duplicates", "cost")
RESULTS: Final = ROOT / ".local" / "eval.json"


def main(argv: list[str]) -> int:
    """0: all ran. 1: the photographs cannot be had. 130: interrupted; what had run is written."""
    parser = argparse.ArgumentParser(prog="python -m tests.evaluation", description="Evaluate the clustering engines.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(EVALUATIONS)}; all when none is named")
    parser.add_argument(
        "--policy",
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="evaluate this policy too: its fields as JSON",
    )
    options = parser.parse_args(argv)
    unknown = sorted(set(options.names) - set(EVALUATIONS))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(EVALUATIONS)}")
    try:
        policies = {**POLICIES, **dict(map(_policy, options.policy))}
    except ValueError as error:
        parser.error(str(error))
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(machine_line(), highlight=False)
    try:
        _run(load(console), options.names or list(EVALUATIONS), policies, console)
    except Undownloadable as error:
        console.print(f"error: {error}", highlight=False, markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted")
        return 130
    console.print(f"figures: {RESULTS}", highlight=False, markup=False)
    return 0


def _run(albums: list[LabelledAlbum], names: list[str], policies: dict[str, Policy], console: Console) -> None:
    for name in names:
        started, facts = time.monotonic(), machine()
        console.rule(name, align="left")
        with Progress(console=console, transient=True) as progress:
            reports = import_module(f"tests.evaluation.{name}").run(albums, policies, progress)
        for report in reports:
            console.print(report.table())
        took = time.monotonic() - started
        console.print(f"{name}: {took:.0f} s\n", highlight=False)
        save(RESULTS, name, reports, facts, took)


def _policy(text: str) -> tuple[str, Policy]:
    """Raises ValueError naming what is wrong."""
    name, found, fields = text.partition("=")
    if not found or not name:
        raise ValueError(f"--policy: {text!r} is not NAME=JSON")
    try:
        policy = msgspec.json.decode(fields, type=Policy)
        engine_of(policy)
    except (msgspec.DecodeError, ServiceError) as error:
        raise ValueError(f"--policy {name}: {error}") from error
    return name, policy


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
