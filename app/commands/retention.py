"""`python -m app retention`: one round of what the role `project` does every RETENTION_INTERVAL_SECONDS."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, ClassVar, TextIO

from faust.cli import option
from rich.console import Console
from rich.table import Table

from app.commands.command import SettingsCommand
from app.settings import Settings
from app.telemetry.logging import configure_command_logging


class retention(SettingsCommand):
    """Delete history older than RETENTION_DAYS from Postgres, now.

    Each pet's last version and pinned ones stay, and so does the log. Exit code 1 means that another process is at it.
    """

    options: ClassVar[list[Any]] = [
        option("--dry-run", is_flag=True, default=False, help="Only print what would go; it is rolled back."),
    ]

    def execute(self, settings: Settings) -> int:
        """Do one round."""
        configure_command_logging("WARNING", settings.app_name, "retention")
        return asyncio.run(_run(settings, self.kwargs["dry_run"], sys.stdout))


async def _run(settings: Settings, dry: bool, out: TextIO) -> int:
    from app.clients import open_pool
    from projections.retention import Retention

    async with open_pool(settings) as pool:
        done = await Retention(pool=pool, days=settings.retention_days).trim(dry=dry)
    console = Console(file=out, highlight=False)
    if done is None:
        console.print("another process is trimming; nothing was done")
        return 1
    table = Table("table", "rows that would go" if dry else "rows removed")
    for name, number in done.removed.items():
        table.add_row(name.replace("_", " "), str(number))
    console.print(table)
    oldest = f"; the oldest version that stays was written {done.oldest:%Y-%m-%d %H:%M} UTC" if done.oldest else ""
    console.print(f"{done.pets} pets, {settings.retention_days} days{oldest}", soft_wrap=True)
    return 0
