"""`python -m app prepare`: topics, first facts and tables, before the first start and after an upgrade."""

from __future__ import annotations

from app.commands.command import SettingsCommand
from app.settings import Settings
from app.telemetry.logging import configure_command_logging


class prepare(SettingsCommand):
    """Make topics, first facts and tables; harmless to repeat."""

    def execute(self, settings: Settings) -> None:
        """Do it."""
        from app.prepare import prepare as make

        configure_command_logging(settings.log_level, settings.app_name, "prepare")
        make(settings)
