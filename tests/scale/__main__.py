"""`python -m tests.scale write`: a large log for a load test, into the topics that the environment names.

make up; set -a; . .local/env; set +a
.venv/bin/python -m tests.scale write --pets 1000 --images 100 --big 10000
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from app.settings import Settings
from tests.bench.scale import SIZE, STEPS, run
from tests.scale.history import Size
from tests.scale.write import write_history


def main(argv: list[str]) -> int:
    """0 when the broker has everything, or all was measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description="Make a large log, or measure with one.")
    parser.add_argument("verb", choices=("write", "measure"), help="write facts and keys to Kafka, or measure")
    parser.add_argument("--pets", type=int, default=SIZE.pets, help="albums (default: %(default)s)")
    parser.add_argument("--images", type=int, default=SIZE.images, help="photos of each, ten a job (%(default)s)")
    parser.add_argument("--big", type=int, default=SIZE.big, help="photos of one pet more (default: %(default)s)")
    parser.add_argument("--last", choices=STEPS, default=STEPS[-1], help="step to end a measurement with (%(default)s)")
    options = parser.parse_args(argv)
    size, console = Size(options.pets, options.images, options.big), Console()
    if options.verb == "write":
        asyncio.run(_write(size, console))
    else:
        for report in run(console, size, options.last):
            console.print(report.table())
    return 0


async def _write(size: Size, console: Console) -> None:
    settings = Settings()
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"facts of {size.photos:,} photos", total=size.jobs)
        await write_history(
            settings.kafka_bootstrap_servers,
            settings.topics(),
            size,
            processes=os.cpu_count() or 1,
            tell=lambda done: progress.update(task, completed=done),
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
