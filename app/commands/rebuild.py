"""`python -m app rebuild`: what follows from the log built anew beside what is live, compared, and put in its place."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, ClassVar, Final

import click
from faust.cli import option

from app.commands.command import SettingsCommand
from app.settings import Settings
from app.telemetry.logging import configure_command_logging
from projections.shadow.history import parse_start
from schemas.errors import InvalidInput
from schemas.ids import check_id

PROJECTIONS: Final = ("postgres", "redis", "tables")
ANSWERS_PER_SECOND: Final = 500.0
MESSAGES_PER_SECOND: Final = 50.0
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
    --projection redis     the cached answers, at once; with --dry-run only compared
    --projection tables    the fold's own, as another generation that takes over
    --republish            nothing is built: snapshots of current versions are sent to media.clusters.updated again
    --pet PET              postgres, one pet: compare; with --swap put its rows in place
    --from VERSION|TIME    postgres: where history begins; trimmed versions from there on can be read again

    Exit code 1: something differs, or it could not be done.
    """

    options: ClassVar[list[Any]] = [
        option("--projection", type=click.Choice(PROJECTIONS), default="postgres", help="What is built anew."),
        option("--swap", "verb", flag_value="swap", help="Put a built shadow in place."),
        option("--rollback", "verb", flag_value="rollback", help="Put back what the last swap has replaced."),
        option("--give-up", "verb", flag_value="give-up", help="Remove a shadow that was begun."),
        option("--dry-run", "verb", flag_value="dry-run", help="Only say what would be done."),
        option("--republish", "verb", flag_value="republish", help="Send current snapshots again; nothing is built."),
        option("--pet", "pet_id", help="Only this pet's rows."),
        option("--from", "start", metavar="VERSION|TIME", help="Where history begins; unless given, at 1."),
        option(
            "--rate",
            type=click.FloatRange(min=0, min_open=True),
            help=f"Most a second: answers with redis ({ANSWERS_PER_SECOND:g}), messages with --republish"
            f" ({MESSAGES_PER_SECOND:g}).",
        ),
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
        from app.rebuild.run import run, run_cache, run_fold, run_republish

        projection, pet_id, accepts = (self.kwargs[name] for name in ("projection", "pet_id", "accept_versions"))
        verb: Any = self.kwargs["verb"] or "build"
        try:
            _check(projection, verb, accepts=accepts, pet_id=pet_id, start=self.kwargs["start"])
            start = parse_start(self.kwargs["start"]) if self.kwargs["start"] is not None else None
        except (click.UsageError, InvalidInput) as error:
            print(f"Error: {error}", file=sys.stderr)
            return USAGE_EXIT_CODE
        configure_command_logging("WARNING", settings.app_name, "rebuild")
        how: dict[str, Any] = {"as_json": self.kwargs["as_json"], "out": sys.stdout}
        processes = self.kwargs["processes"]
        rate = self.kwargs["rate"]
        if verb == "republish":
            return asyncio.run(run_republish(settings, rate=rate or MESSAGES_PER_SECOND, pet_id=pet_id or "", **how))
        if projection == "redis":
            return asyncio.run(run_cache(settings, verb, rate=rate or ANSWERS_PER_SECOND, **how))
        if projection == "tables":
            return asyncio.run(run_fold(settings, verb, accept_versions=accepts, processes=processes, **how))
        return asyncio.run(run(settings, verb, pet_id=pet_id, start=start, processes=processes, **how))


def _check(projection: str, verb: str, *, accepts: bool, pet_id: str | None, start: str | None) -> None:
    """Raises UsageError or InvalidInput when the options do not go together."""
    if accepts and not (projection == "tables" and verb in ("swap", "rollback")):
        raise click.UsageError("--accept-versions goes with --projection tables and --swap or --rollback")
    if projection == "redis" and verb not in ("build", "dry-run", "republish"):
        raise click.UsageError("--projection redis knows --dry-run only: nothing is kept to be swapped")
    if pet_id is not None:
        if projection != "postgres" or verb not in ("build", "swap", "republish"):
            raise click.UsageError("--pet goes with --projection postgres, alone or with --swap, and with --republish")
        check_id(pet_id, "--pet")
    if verb == "republish" and projection != "postgres":
        raise click.UsageError("--republish builds nothing: it goes without --projection")
    builds = ("build",) if pet_id is None else ("build", "swap")
    if start is not None and (projection != "postgres" or verb not in builds):
        raise click.UsageError("--from is given when rows are built: without --swap, or with --pet")
