"""The command line of `python -m app`: our commands under one help text. Called by app/__main__.py.

A class derived from faust's Command registers itself in faust's group. Faust's own commands do so when
`faust.cli.faust` is imported, which nothing here does: they are about one Faust app's worker, agents and tables, and a
role is more than that.
"""

from __future__ import annotations

import click
import faust
from faust.cli.base import cli as registered

from app import VERSION, app

PROGRAM = "sploot-media-clustering"


@click.pass_context
def _root(context: click.Context) -> None:
    # What faust's Command looks for at the root.
    context.app, context.stdout, context.stderr = app, None, None  # type: ignore[attr-defined]


command_line = click.version_option(
    VERSION, prog_name=PROGRAM, message=f"%(prog)s %(version)s, Faust {faust.__version__}"
)(
    click.Group(
        callback=_root,
        commands=registered.commands,
        help="""Pets' photos into clusters with hero images: the service's roles, and what prepares them.

        Settings are environment variables or stand in `.env`; docs/configuration.md lists them. Exit codes: 2 when a
        setting or the command line is not valid, 1 when a command cannot do its
        work, 130 after Ctrl-C.""",
    )
)
