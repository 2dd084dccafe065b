"""`python -m app rebuild`: what follows from the log built anew beside what is live, compared, and put in its place."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, ClassVar, Final

import click
from faust.cli import option

from app.commands.command import SettingsCommand
from app.settings import Settings
from app.telemetry.logging import configure_logging
from schemas.errors import InvalidInput
from schemas.ids import check_id

PROJECTIONS: Final = ("postgres", "tables")
USAGE_EXIT_CODE: Final = 2


class rebuild(SettingsCommand):
    r"""Build a projection anew from the log, compare, swap it in.

    Without options: builds a shadow beside the live tables, catches up with the log and prints what differs; nothing is
    swapped. The same again goes on where a run was killed.

    \b
    --swap        put a built shadow in place; the old tables are kept
    --rollback    put the old tables back in place, with the versions that came since
    --give-up     remove a shadow that was begun, and the tables that are kept
    --dry-run     what would be read and written, and about how long it takes

    \b
    --projection postgres  the tables that callers read (unless given)
    --projection tables    the fold's own, as another generation that takes over
    --pet PET              postgres, one pet: compare; with --swap put its rows in place

    Exit code 1: something differs, or it could not be done.
    """

    options: ClassVar[list[Any]] = [
        option("--projection", type=click.Choice(PROJECTIONS), default="postgres", help="What is built anew."),
        option("--swap", "verb", flag_value="swap", help="Put a built shadow in place."),
        option("--rollback", "verb", flag_value="rollback", help="Put back what the last swap has replaced."),
        option("--give-up", "verb", flag_value="give-up", help="Remove a shadow that was begun."),
        option("--dry-run", "verb", flag_value="dry-run", help="Only say what would be done."),
        option("--pet", "pet_id", help="Only this pet's rows."),
        option(
            "--accept-versions",
            is_flag=True,
            default=False,
            help="tables: hand over although pets have other versions than were sent.",
        ),
        option("--processes", type=int, default=0, help="Processes side by side; 0: one a core."),
        option("--json", "as_json", is_flag=True, default=False, help="A line of JSON for each step and second."),
    ]

    def execute(self, settings: Settings) -> int:
        """Do what the options say."""
        from app.rebuild.run import run, run_fold

        verb: Any = self.kwargs["verb"] or "build"
        how = {"processes": self.kwargs["processes"], "as_json": self.kwargs["as_json"], "out": sys.stdout}
        tables, accepts = self.kwargs["projection"] == "tables", self.kwargs["accept_versions"]
        pet_id = self.kwargs["pet_id"]
        if problem := _problem(verb, tables=tables, accepts=accepts, pet_id=pet_id):
            print(f"Error: {problem}", file=sys.stderr)
            return USAGE_EXIT_CODE
        configure_logging("WARNING", settings.app_name, "rebuild")
        if tables:
            return asyncio.run(run_fold(settings, verb, accept_versions=accepts, **how))
        return asyncio.run(run(settings, verb, pet_id=pet_id, **how))


def _problem(verb: str, *, tables: bool, accepts: bool, pet_id: str | None) -> str:
    """What is wrong with the options, if anything."""
    if accepts and not (tables and verb in ("swap", "rollback")):
        return "--accept-versions goes with --projection tables and --swap or --rollback"
    if pet_id is not None:
        if tables or verb not in ("build", "swap"):
            return "--pet goes with --projection postgres, alone or with --swap"
        try:
            check_id(pet_id, "--pet")
        except InvalidInput as error:
            return str(error)
    return ""
