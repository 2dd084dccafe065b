"""`python -m app seed`: sample pets for a development database."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Final

import click
from faust.cli import option

from app.commands.command import SettingsCommand
from app.settings import Settings
from app.telemetry.logging import configure_command_logging

ALLOWED: Final = ("local", "development")


class seed(SettingsCommand):
    """Fill a development database with sample pets.

    They are called seed-pet-1, seed-pet-2 and so on. Needs Postgres only; harmless to repeat. They are in no log: a
    rebuild leaves them out, verify counts them apart. Refused unless ENVIRONMENT is local or development.
    """

    options: ClassVar[list[Any]] = [
        option("--pets", type=click.IntRange(1, 10_000), default=5, help="How many pets."),
        option("--versions", type=click.IntRange(1, 1_000), default=8, help="How many versions each has."),
    ]

    def execute(self, settings: Settings) -> int:
        """Do it."""
        from schemas.errors import StopProcess

        if settings.environment not in ALLOWED:
            raise StopProcess(f"ENVIRONMENT: is {settings.environment}; seed runs in {' and '.join(ALLOWED)} only")
        configure_command_logging("WARNING", settings.app_name, "seed")
        return asyncio.run(_run(settings, self.kwargs["pets"], self.kwargs["versions"]))


async def _run(settings: Settings, pets: int, versions: int) -> int:
    from app.clients import open_pool
    from app.seed import seed as fill
    from projections.migrate import upgrade

    upgrade(settings.database_url.get_secret_value())
    async with open_pool(settings) as pool:
        done = await fill(pool, pets=pets, versions=versions)
    print(f"{pets} pets: {done.written} versions written, {done.present} were there")
    return 0
