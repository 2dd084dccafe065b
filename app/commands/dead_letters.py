"""`python -m app dead-letters list|show|requeue|discard`: what the API's dead-letter routes do, from a shell."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import Any, ClassVar, Final, get_args
from uuid import UUID

import click
import msgspec
from faust.cli import argument, option

from app.commands.command import SettingsCommand
from app.commands.operator import operator
from app.dead_letters.request import Request
from app.settings import Settings
from app.telemetry.logging import configure_command_logging
from projections.cursors import decode_cursor
from projections.dead_letter_reader import FilterState, LetterFilter, Subject
from projections.dead_letters import MAX_WHO
from schemas.bounds import MAX_TEXT, check_text
from schemas.errors import InvalidInput

ACTIONS: Final = ("requeue", "discard")
FILTER_OPTIONS: Final = ("state", "subject", "kind", "pet_id", "job_id", "since", "until")


class dead_letters(SettingsCommand):
    r"""List, show, requeue or discard dead letters.

    \b
    list            a page of letters, newest first
    show ID         one letter with its payload
    requeue [ID…]   submit what letters are about again
    discard [ID…]   mark letters as done with

    Without ids, requeue and discard are about all letters that the filter options take: they print how many those are,
    and act with --yes only. Exit code 0 means that the broker has every action, 1 that some letter was refused.
    """

    options: ClassVar[list[Any]] = [
        argument("verb", type=click.Choice(["list", "show", "requeue", "discard"])),
        argument("ids", nargs=-1, metavar="[ID]..."),
        option("--state", type=click.Choice(get_args(FilterState)), help="open unless given."),
        option("--subject", type=click.Choice(get_args(Subject)), help="What a letter is about."),
        option("--kind", help="The cause's word, e.g. not_found."),
        option("--pet-id", help="Of this pet."),
        option("--job-id", help="Of this job."),
        option("--since", help="Failed at this time or later, RFC 3339."),
        option("--until", help="Failed before this time, RFC 3339."),
        option("--limit", type=click.IntRange(1, 500), default=50, help="Letters on a page of list."),
        option("--cursor", help="Where the page of list begins."),
        option("--who", help="Who acts; the user of the operating system unless given.", show_default=False),
        option("--why", help="Why; needed to requeue and to discard."),
        option("--yes", is_flag=True, default=False, help="Act on all letters of the filter."),
        option("--json", "as_json", is_flag=True, default=False, help="A line of JSON for each letter or action."),
    ]

    def execute(self, settings: Settings) -> int:
        """Do what the verb says."""
        from app.dead_letters.console import run

        request = _request(self.kwargs)
        configure_command_logging("WARNING", settings.app_name, "dead-letters")
        return asyncio.run(run(settings, request, sys.stdout))


def _request(options: Mapping[str, Any]) -> Request:
    given = dict(options)
    letters = _filter({name: given.pop(name) for name in FILTER_OPTIONS}, bool(given["ids"]))
    acts = given["verb"] in ACTIONS and (given["ids"] or given["yes"])
    given |= {
        "ids": _uuids(given["ids"]),
        "who": given["who"] or (operator() if acts else ""),
        "why": given["why"] or "",
    }
    request = Request(letters=letters, **given)
    _check(request)
    return request


def _filter(given: dict[str, str | None], with_ids: bool) -> LetterFilter:
    chosen = {name: value for name, value in given.items() if value is not None}
    if chosen and with_ids:
        raise click.UsageError("give ids or filter options, not both")
    letters = msgspec.convert(chosen, LetterFilter)
    try:
        letters.columns()
    except InvalidInput as error:
        raise click.UsageError(f"--{error.field.replace('_', '-')}: {error.reason}") from None
    return letters


def _uuids(ids: tuple[str, ...]) -> tuple[UUID, ...]:
    try:
        return tuple(UUID(each) for each in ids)
    except ValueError:
        raise click.UsageError("an id must be a UUID") from None


def _check(request: Request) -> None:
    verb, ids = request.verb, request.ids
    if verb == "list" and ids:
        raise click.UsageError("list takes filter options, no ids")
    if verb == "show" and len(ids) != 1:
        raise click.UsageError("show takes one id")
    if verb in ACTIONS and (ids or request.yes) and not request.why.strip():
        raise click.UsageError("--why is needed: it is kept with the action")
    try:
        if request.cursor:
            decode_cursor(request.cursor)
        check_text(request.who, "--who", MAX_WHO).encode()
        check_text(request.why, "--why", MAX_TEXT).encode()
    except InvalidInput as error:
        raise click.UsageError(str(error)) from None
    except UnicodeEncodeError:
        raise click.UsageError("--who and --why must be UTF-8") from None
