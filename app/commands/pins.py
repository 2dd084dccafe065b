"""`python -m app pins add|remove|list`: versions that retention keeps whatever their age."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, ClassVar, Final, TextIO

import click
from faust.cli import argument, option
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.commands.command import SettingsCommand
from app.commands.operator import operator
from app.settings import Settings
from app.telemetry.logging import configure_command_logging

PIPE_WIDTH: Final = 240
"""Columns of a table that goes into a file or a pipe, so that nothing is folded."""


class pins(SettingsCommand):
    r"""Keep versions that retention would delete.

    \b
    add PET VERSION     keep this version from now on
    remove PET VERSION  leave it to retention again
    list [PET]          what is pinned, by whom and why

    Exit code 1 means that there was nothing to pin or to remove; the line says why.
    """

    options: ClassVar[list[Any]] = [
        argument("verb", type=click.Choice(["add", "remove", "list"])),
        argument("pet_id", required=False, metavar="[PET]"),
        argument("version", required=False, type=int, metavar="[VERSION]"),
        option("--who", help="Who pins; the user of the operating system unless given.", show_default=False),
        option("--why", help="Why; needed to add a pin."),
    ]

    def execute(self, settings: Settings) -> int:
        """Do what the verb says."""
        verb, pet_id, version = (self.kwargs[name] for name in ("verb", "pet_id", "version"))
        if verb == "list" and version is not None:
            raise click.UsageError("list takes a pet at most")
        if verb != "list" and version is None:
            raise click.UsageError(f"{verb} takes a pet and a version")
        if verb == "add" and not (self.kwargs["why"] or "").strip():
            raise click.UsageError("--why is needed: it is kept with the pin")
        who = (self.kwargs["who"] or operator()) if verb == "add" else ""
        configure_command_logging("WARNING", settings.app_name, "pins")
        return asyncio.run(_run(settings, verb, pet_id, version, who, self.kwargs["why"] or "", sys.stdout))


async def _run(
    settings: Settings, verb: str, pet_id: str | None, version: int | None, who: str, why: str, out: TextIO
) -> int:
    from app.clients import open_pool
    from schemas.errors import InvalidInput

    console = Console(file=out, highlight=False, width=None if out.isatty() else PIPE_WIDTH)
    try:
        async with open_pool(settings) as pool:
            if pet_id is None or version is None:
                return await _list(pool, pet_id, console)
            if verb == "remove":
                return await _remove(pool, pet_id, version, console)
            return await _add(pool, pet_id, version, who, why, console)
    except InvalidInput as error:
        console.print(escape(f"not pinned: {error}"))
        return 1


async def _list(pool: Any, pet_id: str | None, console: Console) -> int:
    from projections.pins import list_pins

    found = await list_pins(pool, pet_id)
    table = Table("pet", "version", "pinned at", "in Postgres", "who", "why")
    for pin in found:
        cells = (pin.pet_id, str(pin.version), f"{pin.pinned_at:%Y-%m-%d %H:%M}", "yes" if pin.present else "no")
        table.add_row(*map(escape, (*cells, pin.who, pin.why)))
    console.print(table)
    console.print(f"{len(found)} pinned")
    return 0


async def _remove(pool: Any, pet_id: str, version: int, console: Console) -> int:
    from projections.pins import remove_pin

    removed = await remove_pin(pool, pet_id, version)
    said = "no longer pinned" if removed else "was not pinned"
    console.print(escape(f"version {version} of {pet_id}: {said}"))
    return 0 if removed else 1


async def _add(pool: Any, pet_id: str, version: int, who: str, why: str, console: Console) -> int:
    from projections.pins import add_pin

    pin = await add_pin(pool, pet_id, version, who=who, why=why)
    absent = "" if pin.present else "; it was trimmed before, and stays when the log has brought it back"
    console.print(escape(f"version {version} of {pet_id}: pinned by {pin.who}{absent}"), soft_wrap=True)
    return 0
