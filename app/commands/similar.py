"""`python -m app similar status|rebuild`: how the similarity index stands, and making it anew from the log."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, ClassVar, TextIO

import click
from faust.cli import argument
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.commands.command import SettingsCommand
from app.commands.pins import PIPE_WIDTH
from app.settings import Settings
from app.telemetry.logging import configure_command_logging


class similar(SettingsCommand):
    r"""Look at the similarity index, or make it anew from the log.

    \b
    status   models with their rows, and how many pets wait for a look
    rebuild  drop all of it; the role `project` makes it anew, from the log's beginning

    Until a rebuild is through, a search finds what is there again.
    """

    options: ClassVar[list[Any]] = [argument("verb", type=click.Choice(["status", "rebuild"]))]

    def execute(self, settings: Settings) -> int:
        """Do what the verb says."""
        configure_command_logging("WARNING", settings.app_name, "similar")
        return asyncio.run(_run(settings, self.kwargs["verb"], sys.stdout))


async def _run(settings: Settings, verb: str, out: TextIO) -> int:
    from app.clients import open_pool
    from projections.similar.models import drop_models
    from projections.similar.status import read_status

    console = Console(file=out, highlight=False, width=None if out.isatty() else PIPE_WIDTH)
    async with open_pool(settings) as pool, pool.acquire() as connection:
        if verb == "status":
            _show(await read_status(connection), console)
            return 0
        async with connection.transaction():
            dropped = await drop_models(connection)
    console.print(f"dropped the tables of {dropped} models; the role project makes them anew", soft_wrap=True)
    if not settings.similarity:
        console.print("SIMILARITY is false in this shell: it does so where it is true", soft_wrap=True)
    return 0


def _show(status: Any, console: Console) -> None:
    table = Table("model", "values", "photos", "clusters", "index of photos", "of clusters")
    for row in status.models:
        built = ["built" if each else "reads all" for each in (row.photos_indexed, row.clusters_indexed)]
        table.add_row(escape(row.model), str(row.dimension), str(row.photos), str(row.clusters), *built)
    console.print(table)
    console.print(f"{status.read} records read, {status.due} pets wait for a look", soft_wrap=True)
