"""`python -m app verify`: the log folded again and compared with the table, Postgres and Redis; it only reads."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import click
from faust.cli import option

from app.commands.command import SettingsCommand
from app.settings import Settings
from app.telemetry.logging import configure_command_logging
from schemas.errors import InvalidInput, StopProcess
from schemas.ids import check_id

USAGE_EXIT_CODE: Final = 2
ERROR_EXIT_CODE: Final = 3
"""1 says that something differs."""


class verify(SettingsCommand):
    """Compare table, Postgres and Redis with the log; reads only.

    Folds the log again; the service goes on meanwhile. Names each pet that differs, where, from which version on, and
    the log event that made it. Exit code 0: equal; 1: something differs; 2: a setting or an option is not valid; 3: it
    could not be done.
    """

    options: ClassVar[list[Any]] = [
        option("--pet", help="Only this pet."),
        option("--processes", type=click.IntRange(0), default=0, help="Processes side by side; 0: one a core."),
        option("--json", "as_json", is_flag=True, default=False, help="A line of JSON for each difference and second."),
        option("--metrics-file", help="Write the outcome there, for a node exporter's textfile collector (*.prom)."),
    ]

    def execute(self, settings: Settings) -> int:
        """Do it."""
        from app.verify.run import Request, run

        try:
            pet_id, metrics_file = checked(self.kwargs)
        except click.UsageError as error:
            print(f"Error: {error}", file=sys.stderr)
            return USAGE_EXIT_CODE
        configure_command_logging("WARNING", settings.app_name, "verify")
        request = Request(pet_id, self.kwargs["processes"], self.kwargs["as_json"], metrics_file)
        try:
            return asyncio.run(run(settings, request, sys.stdout))
        except StopProcess as error:
            print(f"stopped: {error}", file=sys.__stderr__)
            return ERROR_EXIT_CODE
        except Exception:
            traceback.print_exc()  # Python's own exit code would be 1, which says that something differs
            return ERROR_EXIT_CODE


def checked(options: Mapping[str, Any]) -> tuple[str | None, Path | None]:
    """The pet and the file. Raises UsageError for what makes no sense."""
    pet_id, named = options["pet"], options["metrics_file"]
    metrics_file = None if named is None else Path(named)
    try:
        if pet_id is not None:
            check_id(pet_id, "--pet")
    except InvalidInput as error:
        raise click.UsageError(str(error)) from None
    if metrics_file is not None and pet_id is not None:
        raise click.UsageError("--metrics-file tells of all pets, so it is not for --pet")
    if metrics_file is not None and not metrics_file.absolute().parent.is_dir():
        raise click.UsageError(f"--metrics-file: {metrics_file.absolute().parent} is no folder")
    return pet_id, metrics_file
