"""`python -m app what-if`: pets replayed from the log under another policy, and compared; nothing is published."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click
from faust.cli import option

from app.commands.command import SettingsCommand
from app.commands.overrides import overrides_of
from app.settings import Settings
from app.telemetry.logging import configure_command_logging
from schemas.errors import InvalidInput, StopProcess
from schemas.ids import check_id

if TYPE_CHECKING:
    from app.whatif.run import Request


class what_if(SettingsCommand):
    r"""Replay pets under another policy and compare; reads only.

    Folds the log twice: as it stands, and with the given fields put over every policy that it records. Says which
    photos would lie elsewhere, which clusters would be made and lost, and which heroes would change. Nothing is
    published or written but what the options name; the service goes on meanwhile.

    \b
    --policy join=0.75,merge=0.6 some fields; may be given more than once
    --policy engine=leader-merge with that engine's own thresholds, unless they are given
    --policy policy.json         fields of a JSON object
    """

    options: ClassVar[list[Any]] = [
        option("--policy", "policy", multiple=True, metavar="FIELDS|FILE", help="Fields of a policy; may repeat."),
        option("--pet", "pets", multiple=True, metavar="PET", help="Only this pet; may repeat."),
        option("--sample", type=click.IntRange(1), metavar="N", help="So many pets, each time the same of a log."),
        option("--html", "page", metavar="FILE", help="Also write a page with the pictures of what changes."),
        option("--processes", type=click.IntRange(0), default=0, help="Processes side by side; 0: one a core."),
        option("--json", "as_json", is_flag=True, default=False, help="A line of JSON for each pet and second."),
    ]

    def execute(self, settings: Settings) -> None:
        """Do it."""
        from app.whatif.run import run

        request = checked(self.kwargs)
        configure_command_logging("ERROR", settings.app_name, "what-if")
        try:
            if request.page is not None:
                request.page.touch()  # now, not after an hour
        except OSError as error:
            raise StopProcess(f"--html: cannot be written: {error}") from error
        asyncio.run(run(settings, request, sys.stdout))


def checked(options: Mapping[str, Any]) -> Request:
    """What is wanted. Raises UsageError for what makes no sense, naming the field."""
    from app.whatif.run import Request

    if not options["policy"]:
        raise click.UsageError("--policy is needed: NAME=VALUE, or a file")
    if options["pets"] and options["sample"] is not None:
        raise click.UsageError("--pet and --sample do not go together")
    try:
        pets = frozenset(check_id(pet, "--pet") for pet in options["pets"])
    except InvalidInput as error:
        raise click.UsageError(str(error)) from None
    overrides = overrides_of("--policy", options["policy"])
    page = None if options["page"] is None else Path(options["page"])
    return Request(overrides, pets, options["sample"], options["processes"], options["as_json"], page)
