"""`python -m app.local up | photos | down | clean | demo`: the local stack, called by the Makefile."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Final

import structlog

from app.local.kafka_jars import ChecksumError, DownloadError
from app.local.photos import bundled_albums
from app.local.processes import StartError
from app.local.stack import REPOSITORY, Stack, stack_settings
from app.settings import INVALID_SETTING_EXIT_CODE, SettingsError
from schemas.errors import StopProcess

_ROOT: Final = REPOSITORY / ".local"


def main(argv: list[str]) -> int:
    """Run one command; its exit code: 0, 1 with a message on stderr, 2 for a wrong command line."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    if argv[:1] == ["demo"]:  # it has options of its own
        from app.local.demo import main as demo

        return demo(argv[1:])
    options = _parser().parse_args(argv)
    try:
        given = stack_settings() if options.command == "up" else {}
        return _run(options.command, Stack(options.root, given=given))
    except SettingsError as error:
        print(f"invalid settings: {error}", file=sys.stderr)
        return INVALID_SETTING_EXIT_CODE
    except (StartError, ChecksumError, DownloadError, StopProcess) as error:
        print(f"error: {error}", file=sys.stderr)
        if options.command == "up":
            print("what had started still runs: `make down` stops it", file=sys.stderr)
        return 1


def _run(command: str, stack: Stack) -> int:
    if command == "up":
        stack.up()
        print(f"ready; addresses and token: {stack.env_file}; the roles' log: {stack.service_log}")
    elif command == "down":
        if not stack.down():
            print("not running")
    elif command == "photos":
        for album in bundled_albums(stack.images):
            print(f"{stack.images}: {album.photos[0].image_id} … {album.photos[-1].image_id}")
    else:
        stack.clean()
        print(f"removed {stack.root}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m app.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("up", "start the servers and the service in the background"),
        ("photos", "write sample photos where the image storage finds them"),
        ("down", "stop them; the data stays"),
        ("clean", "stop them and remove the data"),
        ("demo", "run the main job on real photos (options: demo --help)"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--root", type=Path, default=_ROOT, help="where the data is kept (default: .local)")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
