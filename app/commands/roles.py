"""The roles as commands: `python -m app bridge | embed | fold | project | web | all`."""

from __future__ import annotations

from typing import ClassVar

from app.commands.addresses import check_free, role_addresses
from app.commands.command import SettingsCommand
from app.settings import Settings


class RoleCommand(SettingsCommand):
    """A role that runs in this process until SIGTERM."""

    abstract: ClassVar[bool] = True
    waits_for_stores: ClassVar[bool] = True
    serves_api: ClassVar[bool] = False

    def execute(self, settings: Settings) -> int | None:
        """Check that it can listen, then run it."""
        for address in role_addresses(settings, web=self.serves_api):
            check_free(address)
        return self.run_role(settings)

    def run_role(self, settings: Settings) -> int | None:
        """Run until SIGTERM; returns the exit code, None for 0."""
        raise NotImplementedError


class bridge(RoleCommand):
    """Relay jobs from the Redis Stream into Kafka."""

    def run_role(self, settings: Settings) -> None:
        """Run until SIGTERM."""
        from app.roles.bridge import run

        run(settings)


class embed(RoleCommand):
    """Embed the images of jobs and write facts to the log."""

    def run_role(self, settings: Settings) -> None:
        """Run until SIGTERM."""
        from app.roles.embed import run

        run(settings)


class fold(RoleCommand):
    """Fold the log into pets and send what follows from it."""

    def run_role(self, settings: Settings) -> None:
        """Run until SIGTERM."""
        from app.roles.fold import run

        run(settings)


class project(RoleCommand):
    """Write versions to Postgres and Redis."""

    def run_role(self, settings: Settings) -> None:
        """Run until SIGTERM."""
        from app.roles.project import run

        run(settings)


class web(RoleCommand):
    """Serve the HTTP API."""

    serves_api: ClassVar[bool] = True

    def run_role(self, settings: Settings) -> None:
        """Run until SIGTERM."""
        from app.roles.web import run

        run(settings)


class all(SettingsCommand):
    """Run every role on this machine and restart what dies."""

    waits_for_stores: ClassVar[bool] = True

    def execute(self, settings: Settings) -> int:
        """Run until SIGTERM."""
        from app.roles.all import ROLES, run

        for address in role_addresses(settings, web=True, roles=len(ROLES)):
            check_free(address)
        return run(settings)
