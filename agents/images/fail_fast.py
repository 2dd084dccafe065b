"""Stops asking an image source that is away, so that a command ends in seconds instead of waiting out every time-out.

Wrapped around the source by `app.roles.embed` and `app.whatif`. What embed does not ask for is retried later, like what
failed; its last try is made in any case (`asked_anyway`).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TypeVar

import structlog

from agents.images.sources import ImageSource
from schemas.errors import RetryLater

log = structlog.get_logger(__name__)

FAILURES: Final = 16
PAUSE_SECONDS: Final = 2.0
_Answer = TypeVar("_Answer")
_asked_anyway: Final = ContextVar("asked_anyway", default=False)


@contextmanager
def asked_anyway() -> Iterator[None]:
    """Calls of this block, and of tasks begun in it, are made during a pause too: nothing is given up without asking.

    A context variable, because the pipeline between an agent and its source has no use for it.
    """
    token = _asked_anyway.set(True)
    try:
        yield
    finally:
        _asked_anyway.reset(token)


class FailFast:
    """An ImageSource. After `failures` calls in a row that may succeed later, none but those of `asked_anyway` is made
    for `pause` seconds.

    Then calls go through again, and the first failure begins the next pause.
    """

    def __init__(
        self,
        source: ImageSource,
        *,
        failures: int = FAILURES,
        pause: float = PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._limit = failures
        self._pause = pause
        self._clock = clock
        self._failures = 0
        self._closed_until = 0.0

    @property
    def max_bytes(self) -> int:
        """The most bytes that one `fetch` ever holds."""
        return self._source.max_bytes

    async def fetch(self, image_id: str) -> bytes:
        """As the source; raises RetryLater at once during a pause."""
        return await self._call(self._source.fetch, image_id)

    async def list_images(self, pet_id: str) -> tuple[str, ...] | None:
        """As the source; raises RetryLater at once during a pause."""
        return await self._call(self._source.list_images, pet_id)

    async def _call(self, call: Callable[[str], Awaitable[_Answer]], argument: str) -> _Answer:
        if self._clock() < self._closed_until and not _asked_anyway.get():
            raise RetryLater(f"not asked: the image source failed {self._failures} times in a row")
        try:
            answer = await call(argument)
        except RetryLater as error:
            self._failures += 1
            if self._failures >= self._limit:
                self._closed_until = self._clock() + self._pause
                log.warning("image_source_away", failures=self._failures, pause_seconds=self._pause, error=str(error))
            raise
        except Exception:
            self._failures, self._closed_until = 0, 0.0  # it answered, if only to say that there is no such image
            raise
        self._failures, self._closed_until = 0, 0.0
        return answer
