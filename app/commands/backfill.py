"""`python -m app backfill`: a job for each pet of a file, for pets that were there before the service."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final

import click
from faust.cli import option

from app.commands.command import SettingsCommand
from app.settings import Settings
from app.telemetry.logging import configure_command_logging

RUN_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
SEND_SECONDS: Final = 30.0


class backfill(SettingsCommand):
    r"""Submit a job for each pet of a file, slowly.

    \b
    A line is one of
      pet_id[,image_id...]     without images, the storage service says which the pet has
      {"pet_id": "...", ...}   as the body of POST /internal/cluster-jobs

    Repeat it whenever it was stopped: it goes on where it was, and what it submits twice counts once. Exit code 1 means
    that lines were refused, or that it could not be ended.
    """

    interrupted: ClassVar[str] = "run the same again to go on"
    options: ClassVar[list[Any]] = [
        option("--file", "path", required=True, metavar="FILE", help="CSV or JSON lines; - for standard input."),
        option("--run", "run_name", help="The run's name [default: the file's]. Job ids follow from it and the pet."),
        option(
            "--rate", type=click.FloatRange(0.01, 10_000), default=5.0, help="Commands (of up to 64 images) a second."
        ),
        option(
            "--state-file",
            type=Path,
            help="Where it notes how far it is [default: backfill/RUN.state under DATA_DIR].",
        ),
        option("--dry-run", is_flag=True, default=False, help="Only check the lines; nothing is sent or noted."),
        option("--json", "as_json", is_flag=True, default=False, help="A line of JSON for each event."),
    ]

    def execute(self, settings: Settings) -> int:
        """Do it."""
        from schemas.errors import StopProcess

        path = self.kwargs["path"]
        run = self.kwargs["run_name"] or ("stdin" if path == "-" else Path(path).stem)
        if not RUN_NAME.fullmatch(run):
            raise StopProcess("--run: must be 1-64 characters of A-Z a-z 0-9 . _ - ; give one where the file's is not")
        configure_command_logging("ERROR", settings.app_name, "backfill")
        try:
            with sys.stdin.buffer if path == "-" else open(path, "rb") as source:
                return asyncio.run(_run(settings, source, run, self.kwargs))
        except OSError as error:
            raise StopProcess(f"--file: cannot be read: {error}") from error


async def _run(settings: Settings, source: BinaryIO, run: str, given: Mapping[str, Any]) -> int:
    from app.away import kafka_place
    from app.backfill.display import Display
    from app.backfill.run import Backfill
    from app.views.producer import CommandProducer
    from schemas.headers import utc_now

    dry = given["dry_run"]
    producer = CommandProducer(
        settings.kafka_bootstrap_servers,
        settings.topics(),
        timeout=SEND_SECONDS,
        clock=utc_now,
        client_id="media-backfill",
    )
    with Display(sys.stdout, as_json=given["as_json"], total_bytes=_size(source)) as display:
        work = Backfill(
            source,
            run=run,
            state_file=None if dry else given["state_file"] or _state_file(settings, run),
            rate=math.inf if dry else given["rate"],
            send=_nothing if dry else producer.send,
            topics=settings.topics(),
            clock=utc_now,
            display=display,
            kafka=kafka_place(settings),
        )
        async with contextlib.AsyncExitStack() as stack:
            if not dry:
                await producer.start()
                stack.push_async_callback(producer.stop)
            done = await work.work()
        display.end(done, work.before, dry=dry)
    return 1 if done.refused else 0


def _state_file(settings: Settings, run: str) -> Path:
    """The run's own, in a folder that is made if need be."""
    from schemas.errors import StopProcess

    folder = settings.data_dir / "backfill"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StopProcess(f"DATA_DIR: {folder} cannot be made: {error}") from error
    return folder / f"{run}.state"


async def _nothing(messages: Any) -> None:
    """Stands in for the producer in a dry run."""


def _size(source: BinaryIO) -> int | None:
    status = os.fstat(source.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None
