"""Who runs a command, for what is kept with a name. Called by app/commands/dead_letters.py and app/commands/pins.py."""

from __future__ import annotations

import getpass

import click


def operator() -> str:
    """The user of the operating system. Raises UsageError where there is none: a container's user may be a number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise click.UsageError("--who is needed: the operating system has no name for this user") from None
