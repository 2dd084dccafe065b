"""The roles as commands: `python -m app bridge | embed | fold | project | web | all`."""

from __future__ import annotations

from app.commands.command import SettingsCommand
from app.settings import Settings


class bridge(SettingsCommand):
    """Relay jobs from the Redis Stream into Kafka."""

    def execute(self, settings: Settings) -> None:
        """Run until SIGTERM."""
        from app.roles.bridge import run

        run(settings)


class embed(SettingsCommand):
    """Embed the images of jobs and write facts to the log."""

    def execute(self, settings: Settings) -> None:
        """Run until SIGTERM."""
        from app.roles.embed import run

        run(settings)


class fold(SettingsCommand):
    """Fold the log into pets and send what follows from it."""

    def execute(self, settings: Settings) -> None:
        """Run until SIGTERM."""
        from app.roles.fold import run

        run(settings)


class project(SettingsCommand):
    """Write versions to Postgres and Redis."""

    def execute(self, settings: Settings) -> None:
        """Run until SIGTERM."""
        from app.roles.project import run

        run(settings)


class web(SettingsCommand):
    """Serve the HTTP API."""

    def execute(self, settings: Settings) -> None:
        """Run until SIGTERM."""
        from app.roles.web import run

        run(settings)


class all(SettingsCommand):
    """Run every role on this machine and restart what dies."""

    def execute(self, settings: Settings) -> int:
        """Run until SIGTERM."""
        from app.roles.all import run

        return run(settings)
