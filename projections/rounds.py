"""Work that is done in rounds, beside the projector, until the process stops. Base of `sweeper` and `retention`."""

from __future__ import annotations

import abc
import asyncio
from contextlib import suppress

from projections.waiting import Patience, Stopped, unless_set
from schemas.telemetry import Counter


class Rounds(abc.ABC):
    """A round every `interval_s`; `run` until `stop`. `name`: who waits, in the log; `errors`: rounds that failed."""

    def __init__(self, name: str, interval_s: float, errors: Counter) -> None:
        self._name = name
        self._interval_s = interval_s
        self._stopping = asyncio.Event()
        self._patience = Patience(name, self._stopping, errors)
        self._task: asyncio.Task[None] | None = None

    @abc.abstractmethod
    async def round(self) -> object:
        """Do one round; it may be cut off anywhere and is then done again."""

    @property
    def waits_for(self) -> str:
        """Who is away and by which error; empty while rounds can be done."""
        return self._patience.waits_for

    async def start(self) -> None:
        """Run in a task of its own."""
        self._task = asyncio.create_task(self.run(), name=self._name)

    async def stop(self) -> None:
        """End the round in hand; what it has not done is found again. Raises what ended `run`, if an error did."""
        self._stopping.set()
        if self._task is not None:
            await self._task

    async def run(self) -> None:
        """Do rounds until `stop`. Outlives Postgres and Kafka being away. Raises StopProcess for another schema."""
        with suppress(Stopped):
            while not self._stopping.is_set():
                await unless_set(self._stopping, self._patience.until_done(self.round))
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), self._interval_s)
