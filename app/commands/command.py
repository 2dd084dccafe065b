"""Base of our commands: settings first, one line and an exit code when something is wrong."""

from __future__ import annotations

import sys
from typing import Any, ClassVar, Final, NoReturn

import click
from faust.cli.base import AppCommand

from app.settings import INVALID_SETTING_EXIT_CODE, Settings, SettingsError, load_settings
from schemas.errors import StopProcess

USAGE_EXIT_CODE: Final = 2
"""As click's own, for what it cannot judge."""
INTERRUPTED_EXIT_CODE: Final = 130
"""As shells have it. click's own is 1, which of some commands says what they have found."""


class SettingsCommand(AppCommand):
    """A Faust command that runs in plain Python: our roles start loops of their own.

    A subclass's docstring is its help text; the list of commands shows about 65 characters of its first sentence.
    """

    abstract: ClassVar[bool] = True
    options: ClassVar[list[Any]] = []
    waits_for_stores: ClassVar[bool] = False
    """A role waits for what is away; any other command ends, and tells what it is."""
    interrupted: ClassVar[str] = "interrupted"
    """What is told after Ctrl-C."""

    def __init_subclass__(cls, *args: Any, **kwargs: Any) -> None:
        # click looks for the character in front of lines that are to stay as they are; a docstring has its escape.
        cls.__doc__ = (cls.__doc__ or "").replace(r"\b", "\b")
        super().__init_subclass__(*args, **kwargs)

    def run_using_worker(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Load the settings and call `execute`."""
        try:
            code = self._execute(load_settings())
        except SettingsError as error:
            print(f"invalid settings: {error}", file=sys.__stderr__)
            code = INVALID_SETTING_EXIT_CODE
        except click.UsageError as error:
            print(f"Error: {error}", file=sys.stderr)
            code = USAGE_EXIT_CODE
        except StopProcess as error:
            print(f"stopped: {error}", file=sys.__stderr__)
            code = 1
        except click.Abort:
            print("stopped: not confirmed", file=sys.__stderr__)
            code = 1
        except KeyboardInterrupt:
            print(f"stopped: {self.interrupted}", file=sys.__stderr__)
            code = INTERRUPTED_EXIT_CODE
        raise SystemExit(code or 0)

    def _execute(self, settings: Settings) -> int | None:
        if self.waits_for_stores:
            return self.execute(settings)
        from app.away import stores_told  # the clients: --help needs none of them

        with stores_told(settings):
            return self.execute(settings)

    def execute(self, settings: Settings) -> int | None:
        """Do the work; returns the exit code, None for 0. Raises UsageError for options that do not go together."""
        raise NotImplementedError
