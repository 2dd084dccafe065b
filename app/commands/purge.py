"""`python -m app purge PET`: what the API's purge routes do, from a shell; and the check that nothing is left."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import click
from faust.cli import argument, option

from app.commands.command import SettingsCommand
from app.commands.operator import operator
from app.purges.request import Request
from app.settings import Settings
from app.telemetry.logging import configure_command_logging
from projections.dead_letters import MAX_WHO
from schemas.bounds import MAX_TEXT, check_text
from schemas.errors import InvalidInput
from schemas.ids import check_id

USAGE_EXIT_CODE: Final = 2


class purge(SettingsCommand):
    r"""Destroy all that is known of a pet, or look for leftovers.

    Asks for the purge and ends when the broker has it; with --wait when it is carried out, printing what was removed
    where. It cannot be taken back. Exit code 1: nothing is known of the pet, it was not carried out in time, or --check
    has found something.
    """

    options: ClassVar[list[Any]] = [
        argument("pet_id"),
        option("--why", help="Why; needed, and kept with the receipt."),
        option("--who", help="Who asks; the user of the operating system unless given.", show_default=False),
        option("--purge-id", help="The purge's id, to repeat one that was not confirmed; made unless given."),
        option("--wait", is_flag=True, default=False, help="Wait for the receipt and print it."),
        option("--even-unknown", is_flag=True, default=False, help="Purge a pet of which nothing is known, too."),
        option("--check", is_flag=True, default=False, help="Only look for what the last purge has left."),
        option("--json", "as_json", is_flag=True, default=False, help="Print one line of JSON."),
    ]

    def execute(self, settings: Settings) -> int:
        """Do what the options say."""
        from app.purges.console import run

        try:
            request = _request(self.kwargs)
        except click.UsageError as error:
            print(f"Error: {error}", file=sys.stderr)
            return USAGE_EXIT_CODE
        configure_command_logging("WARNING", settings.app_name, "purge")
        return asyncio.run(run(settings, request, sys.stdout))


def _request(options: Mapping[str, Any]) -> Request:
    given = dict(options)
    only_checks = given["check"]
    if only_checks and (given["why"] or given["who"] or given["purge_id"] or given["wait"] or given["even_unknown"]):
        raise click.UsageError("--check only looks: it takes a pet and --json")
    if not only_checks and not (given["why"] or "").strip():
        raise click.UsageError("--why is needed: it is kept with the receipt")
    given |= {"why": given["why"] or "", "who": given["who"] or ("" if only_checks else operator())}
    request = Request(**given)
    try:
        check_id(request.pet_id, "pet_id")
        if request.purge_id is not None:
            check_id(request.purge_id, "--purge-id")
        check_text(request.who, "--who", MAX_WHO).encode()
        check_text(request.why, "--why", MAX_TEXT).encode()
    except InvalidInput as error:
        raise click.UsageError(str(error)) from None
    except UnicodeEncodeError:
        raise click.UsageError("--who and --why must be UTF-8") from None
    return request
