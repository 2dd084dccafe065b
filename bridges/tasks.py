"""Tasks of this package's loops: how they are started, stopped, and ended for good."""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Iterable
from typing import Any, Final

CANCEL_AGAIN_SECONDS: Final = 0.2


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel until all have ended: one cancellation is lost when it meets a time-out of the client's own."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        pending = (await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS))[1]


class Loop(abc.ABC):
    """A loop that runs until `stop`, or until an error ends it. `run` does its work in the task `_working`."""

    def __init__(self) -> None:
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._working: asyncio.Task[None] | None = None

    @abc.abstractmethod
    async def run(self) -> None:
        """Work until `stop`; the end of `_working` is the end of it."""

    async def start(self) -> None:
        """Run in a task of its own."""
        self._task = asyncio.create_task(self.run())

    async def stop(self, grace_s: float = 5.0) -> None:
        """End the loop behind its batch, or after `grace_s` in the middle of it, which repeats it at the next start.

        Raises what ended `run`, if it was an error.
        """
        self._stopping.set()
        if self._task is not None and not self._task.done():
            await asyncio.wait({self._task}, timeout=grace_s)
            if self._working is not None:
                self._working.cancel()  # `run` then ends in good order
            await self._task
