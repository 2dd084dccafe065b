"""Waits for Postgres and Kafka, but not longer than the process is to run. Called by `projections.runner` and
`projections.sweeper`; `app` uses `unless_set` for its producers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

import asyncpg
import structlog
from aiokafka.errors import KafkaError

from projections.away import POSTGRES_ERRORS
from schemas.errors import RetryLater, StopProcess, cancelled_by_client
from schemas.telemetry import Counter

log = structlog.get_logger(__name__)

FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 5.0
_AWAY: Final = (*POSTGRES_ERRORS, KafkaError, RetryLater)

T = TypeVar("T")


class Stopped(Exception):
    """The process is to end before what was awaited happened."""


async def unless_set(stopping: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. Raises Stopped, with `work` cancelled, when `stopping` is set first."""
    task, stop = asyncio.ensure_future(work), asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Stopped
        return task.result()
    finally:
        for each in (task, stop):
            each.cancel()
        await asyncio.gather(task, stop, return_exceptions=True)


class Patience:
    """Repeats what fails because Postgres or Kafka is away, until it is done or `stopping` is set.

    `name`: who waits; the log's event is ``<name>_waits``.
    """

    def __init__(self, name: str, stopping: asyncio.Event, failures: Counter) -> None:
        self._event = f"{name}_waits"
        self._stopping = stopping
        self._failures = failures
        self._waiting: dict[object, str] = {}

    @property
    def waits_for(self) -> str:
        """Who is away and by which error, for readiness; empty while nothing waits."""
        return next(iter(self._waiting.values()), "")

    async def until_done(self, work: Callable[[], Awaitable[T]]) -> T:
        """Repeat `work` with growing delays; nothing is skipped. Calls may run side by side and inside each other.

        Raises Stopped when `stopping` is set while it waits, and StopProcess when the database refuses a statement
        itself: an older or newer schema, or a missing grant, which no waiting mends.
        """
        call, delay = object(), FIRST_DELAY
        try:
            while True:
                try:
                    with cancelled_by_client():
                        return await work()
                except asyncpg.SyntaxOrAccessError as error:
                    raise StopProcess(_refusal(error)) from error
                except _AWAY as error:
                    self._failures.inc()
                    self._waiting[call] = f"{_who(error)}: {type(error).__name__}"
                    log.warning(self._event, error=repr(error), retry_in=delay)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), delay)
                if self._stopping.is_set():
                    raise Stopped
                delay = min(2 * delay, LONGEST_DELAY)
        finally:
            self._waiting.pop(call, None)


def _who(error: Exception) -> str:
    """Who is away: asyncpg lets OSError through, aiokafka wraps it; RetryLater comes from replay or dead letters."""
    return "Kafka" if isinstance(error, KafkaError | RetryLater) else "Postgres"


def _refusal(error: asyncpg.SyntaxOrAccessError) -> str:
    kind = type(error).__name__
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return f"the database refuses a statement ({kind}: {error}): grant it to the user of DATABASE_URL"
    return f"the database refuses a statement ({kind}: {error}): run the migrations of this release"
