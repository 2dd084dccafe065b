"""`python -m app`: every command of the service. `--help` lists them."""

from app.commands import (  # noqa: F401 - importing registers the commands
    backfill,
    compare,
    dead_letters,
    log,
    pins,
    policy,
    prepare,
    purge,
    rebuild,
    retention,
    roles,
    seed,
    similar,
    verify,
    what_if,
)
from app.commands.command_line import command_line

if __name__ == "__main__":
    command_line()
