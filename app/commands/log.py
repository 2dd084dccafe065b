"""`python -m app log export|check|import|adopt`: the log as files, and back into an empty Kafka."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, ClassVar, Final

import click
from faust.cli import argument, option

from app.commands.command import SettingsCommand
from app.settings import Settings
from app.telemetry.logging import configure_command_logging

USAGE_EXIT_CODE: Final = 2
MIB: Final = 2**20
PLACES: Final = {"export": "to", "check": "place", "import": "place"}
"""Verb → the option that names the export's folder."""


class log(SettingsCommand):
    r"""Export the log to files, check them, import them.

    \b
    export --to PLACE     what is new since the last export there; beside the running service
    check --from PLACE    whether all files are as they were written
    import --from PLACE   into an empty Kafka, while no role runs
    adopt                 after an import: let Postgres go on with this Kafka

    PLACE is a folder or an fsspec URL. The same again goes on where a run was killed. Exit code 1: something is wrong,
    or it could not be done.
    """

    options: ClassVar[list[Any]] = [
        argument("verb", type=click.Choice([*PLACES, "adopt"])),
        option("--to", metavar="PLACE", help="Where export writes."),
        option("--from", "place", metavar="PLACE", help="Where check and import read."),
        option("--file-mib", type=click.FloatRange(0.001, 1024), default=32.0, help="Records in a file, before gzip."),
        option("--json", "as_json", is_flag=True, default=False, help="A line of JSON for each step and second."),
    ]

    def execute(self, settings: Settings) -> int:
        """Do what the verb says."""
        from app.backup.run import run

        verb = self.kwargs["verb"]
        needed = PLACES.get(verb)
        if {name for name in ("to", "place") if self.kwargs[name]} != ({needed} if needed else set()):
            told = {"to": "--to", "place": "--from"}.get(needed or "", "neither --to nor --from")
            print(f"Error: {verb} takes {told}", file=sys.stderr)
            return USAGE_EXIT_CODE
        configure_command_logging("WARNING", settings.app_name, "log")
        return asyncio.run(
            run(
                settings,
                verb,
                self.kwargs[needed] if needed else "",
                file_bytes=int(self.kwargs["file_mib"] * MIB),
                as_json=self.kwargs["as_json"],
                out=sys.stdout,
            )
        )
