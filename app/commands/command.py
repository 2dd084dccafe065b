"""Base of our commands: settings first, one line and an exit code when something is wrong."""

from __future__ import annotations

import sys
from typing import Any, ClassVar, NoReturn

from faust.cli.base import AppCommand

from app.settings import INVALID_SETTING_EXIT_CODE, Settings, SettingsError, load_settings
from schemas.errors import StopProcess


class SettingsCommand(AppCommand):
    """A Faust command that runs in plain Python: our roles start loops of their own.

    A subclass's docstring is its help text; the list of commands shows about 65 characters of its first sentence.
    """

    abstract: ClassVar[bool] = True
    options: ClassVar[list[Any]] = []

    def __init_subclass__(cls, *args: Any, **kwargs: Any) -> None:
        # A raw docstring's \b is two characters; click looks for one, ahead of lines that it is not to fold.
        cls.__doc__ = (cls.__doc__ or "").replace("\\b\n", "\b\n")
        super().__init_subclass__(*args, **kwargs)

    def run_using_worker(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Load the settings and call `execute`."""
        try:
            code = self.execute(load_settings())
        except SettingsError as error:
            print(f"invalid settings: {error}", file=sys.__stderr__)
            code = INVALID_SETTING_EXIT_CODE
        except StopProcess as error:
            print(f"stopped: {error}", file=sys.__stderr__)
            code = 1
        raise SystemExit(code or 0)

    def execute(self, settings: Settings) -> int | None:
        """Do the work; returns the exit code, None for 0."""
        raise NotImplementedError
