"""`python -m app policy`: which policy the log is folded by; another one put into force; pets folded anew under it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import click
from faust.cli import option

from app.commands.command import SettingsCommand
from app.commands.overrides import overrides_of
from app.settings import Settings
from app.telemetry.logging import configure_command_logging
from schemas.errors import InvalidInput
from schemas.ids import check_id

if TYPE_CHECKING:
    from app.policy.request import Request

OF_RECLUSTER = {"pets": "--pet", "rate": "--rate", "run": "--run", "after": "--after"}


class policy(SettingsCommand):
    r"""Show the clustering policy in force, or change it.

    Unless told otherwise it only reads. A policy holds for what is folded after it; pets as they stand come under it
    with --recluster, which asks for one refold of each pet.

    \b
    --set join=0.82,merge=0.58     some fields, the rest stays; as what-if takes them
    --set engine=leader-merge      with that engine's own thresholds, unless they are given
    --set policy.json              fields of a JSON object
    --recluster                    of all pets that Postgres knows, or of each --pet

    The same again changes nothing, and completes what was cut off. Exit code 1: the partitions do not agree, or it
    could not be done.
    """

    interrupted: ClassVar[str] = "run the same again to go on"
    options: ClassVar[list[Any]] = [
        option("--set", "wanted", multiple=True, metavar="FIELDS|FILE", help="Put them into force; may repeat."),
        option("--yes", is_flag=True, default=False, help="Do not ask before it is put into force."),
        option("--recluster", is_flag=True, default=False, help="Have pets folded anew under what is in force."),
        option("--pet", "pets", multiple=True, metavar="PET", help="Only this pet; may repeat."),
        option("--rate", type=click.FloatRange(0.01, 10_000), help="Pets a second, at most [default: 5]."),
        option("--run", help="A name that makes the reclusters other ones, to have pets folded anew once more."),
        option("--after", metavar="PET", help="Only pets whose id comes behind it, to go on."),
        option("--json", "as_json", is_flag=True, default=False, help="A line of JSON for each partition and step."),
    ]

    def execute(self, settings: Settings) -> int:
        """Do what the options say."""
        from app.policy.console import run

        request = checked(self.kwargs)
        configure_command_logging("ERROR", settings.app_name, "policy")
        return asyncio.run(run(settings, request, sys.stdout))


def checked(options: Mapping[str, Any]) -> Request:
    """What is wanted. Raises UsageError for what makes no sense, naming the option or the field."""
    from app.policy.request import Request

    if not options["recluster"] and (given := [name for key, name in OF_RECLUSTER.items() if options[key]]):
        raise click.UsageError(f"{', '.join(given)}: goes with --recluster")
    if options["pets"] and options["after"]:
        raise click.UsageError("--pet and --after do not go together")
    if options["wanted"] and options["as_json"] and not options["yes"]:
        raise click.UsageError("--json asks nothing: --set needs --yes with it")
    try:
        for name, values in (("--pet", options["pets"]), ("--run", [options["run"]]), ("--after", [options["after"]])):
            for value in filter(None, values):
                check_id(value, name)
    except InvalidInput as error:
        raise click.UsageError(str(error)) from None
    return Request(
        wanted=overrides_of("--set", options["wanted"]) if options["wanted"] else None,
        yes=options["yes"],
        recluster=options["recluster"],
        pets=tuple(dict.fromkeys(options["pets"])),
        rate=options["rate"] or 5.0,
        run=options["run"] or "",
        after=options["after"] or "",
        as_json=options["as_json"],
    )
