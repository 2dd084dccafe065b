"""Runs the loops of a process side by side until it is to stop. Used by the roles `bridge` and `project`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import structlog

from schemas.errors import StopProcess

log = structlog.get_logger(__name__)


class Loop(Protocol):
    """Something that runs until it is stopped."""

    async def run(self) -> None:
        """Returns after `stop`; raises what ends it before."""
        ...

    async def stop(self) -> None:
        """Make `run` return."""
        ...


async def run_together(loops: Sequence[Loop], stopping: asyncio.Event) -> None:
    """Run all until `stopping` is set or one of them ends; then stop the others.

    Raises what ended the first that failed, so that the supervisor sees a failed process. What a client cancels while
    the process stops is no failure: the loop was to end, and what it had not committed is read again.
    """
    running = [asyncio.create_task(loop.run()) for loop in loops]
    stop = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({*running, stop}, return_when=asyncio.FIRST_COMPLETED)
        first_errors = [error for task in running if task.done() and (error := _error(task)) is not None]
        # What `stop` raises is what ended its `run`, which is seen below.
        await asyncio.gather(*(loop.stop() for loop in loops), return_exceptions=True)
        await asyncio.wait(running)
    finally:
        for task in (*running, stop):
            task.cancel()
    ended = [task for task in running if not (stopping.is_set() and task.cancelled())]
    if len(ended) < len(running):
        log.warning("loop_cancelled_while_stopping", loops=len(running) - len(ended))
    errors = [error for task in ended if (error := _error(task)) is not None]
    for error in errors:
        log.error("loop_failed", error=repr(error))
    for error in (*first_errors, *errors):
        raise error


def _error(task: asyncio.Task[None]) -> BaseException | None:
    """What ended a loop too early; nobody but a client of it can have cancelled it."""
    return StopProcess("a loop was cancelled") if task.cancelled() else task.exception()
