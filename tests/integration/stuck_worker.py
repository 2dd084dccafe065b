"""Runs the fold role with one part of it made to stand still, for tests/integration/test_watchdog.py.

Usage: ``python tests/integration/stuck_worker.py agent | loop | commit | recovery | membership``, settings from the
environment.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from typing import Any

from aiokafka.consumer.group_coordinator import GroupCoordinator
from faust.tables.recovery import Recovery
from faust.transport.drivers.aiokafka import Consumer

from agents.fold import Folder
from app.roles.fold import run
from app.settings import load_settings


async def _never(*_: Any, **__: Any) -> Any:
    await asyncio.Event().wait()


async def _pretend_to_commit(*_: Any) -> bool:
    return True


def _block(*_: Any) -> None:
    while True:
        time.sleep(60)


def _all_of_it_remains(recovery: Any) -> Counter[Any]:
    return Counter(dict.fromkeys(recovery.active_tps, 9))


def stick(part: str) -> None:
    """Make `part` stand still."""
    match part:
        case "agent":
            Folder.run = _never  # type: ignore[method-assign]
        case "loop":
            Folder._handle = _block  # type: ignore[assignment,method-assign]
        case "commit":
            Consumer._commit = _pretend_to_commit
        case "recovery":
            Recovery.active_remaining = _all_of_it_remains
        case "membership":
            GroupCoordinator._do_rejoin_group = _never
        case _:
            raise SystemExit(f"unknown part: {part}")


if __name__ == "__main__":
    stick(sys.argv[1])
    run(load_settings())
