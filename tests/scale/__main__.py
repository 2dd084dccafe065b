"""`python -m tests.scale write`: a large log for a load test, into the topics that the environment names.

make up; set -a; . .local/env; set +a
.venv/bin/python -m tests.scale write --pets 1000 --images 100 --big 10000
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from app.settings import Settings
from tests.scale.history import Size
from tests.scale.write import write_history


def main(argv: list[str]) -> int:
    """0 when the broker has everything."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description="Make a large log.")
    write = parser.add_subparsers(dest="verb", required=True).add_parser("write", help="write facts and keys to Kafka")
    write.add_argument("--pets", type=int, default=10_000, help="albums (default: %(default)s)")
    write.add_argument("--images", type=int, default=100, help="photos of each, ten a job (default: %(default)s)")
    write.add_argument("--big", type=int, default=10_000, help="photos of one pet more (default: %(default)s)")
    write.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(argv)
    size, settings = Size(options.pets, options.images, options.big), Settings()
    with Progress("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as progress:
        task = progress.add_task(f"facts of {size.photos:,} photos", total=size.jobs)
        asyncio.run(
            write_history(
                settings.kafka_bootstrap_servers,
                settings.topics(),
                size,
                processes=options.processes,
                tell=lambda done: progress.update(task, completed=done),
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
