"""`python -m app rebuild`: the Postgres projection built anew from the log, beside the live one."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, ClassVar

from faust.cli import option

from app.commands.command import SettingsCommand
from app.settings import Settings
from app.telemetry.logging import configure_logging


class rebuild(SettingsCommand):
    r"""Build the projection anew from the log, compare, swap it in.

    Without options: builds a shadow beside the live tables, catches up with the log and prints what differs; nothing is
    swapped. The same again goes on where a run was killed.

    \b
    --swap        put a built shadow in place; the old tables are kept
    --rollback    put the old tables back in place, with the versions that came since
    --give-up     remove a shadow that was begun
    --dry-run     what would be read and written, and about how long it takes

    Exit code 1: something differs, or it could not be done.
    """

    options: ClassVar[list[Any]] = [
        option("--swap", "verb", flag_value="swap", help="Put a built shadow in place."),
        option("--rollback", "verb", flag_value="rollback", help="Put back what the last swap has replaced."),
        option("--give-up", "verb", flag_value="give-up", help="Remove a shadow that was begun."),
        option("--dry-run", "verb", flag_value="dry-run", help="Only say what would be done."),
        option("--processes", type=int, default=0, help="Processes side by side; 0: one a core."),
        option("--json", "as_json", is_flag=True, default=False, help="A line of JSON for each step and second."),
    ]

    def execute(self, settings: Settings) -> int:
        """Do what the options say."""
        from app.rebuild.run import run

        configure_logging("WARNING", settings.app_name, "rebuild")
        verb: Any = self.kwargs["verb"] or "build"
        return asyncio.run(
            run(settings, verb, processes=self.kwargs["processes"], as_json=self.kwargs["as_json"], out=sys.stdout)
        )
