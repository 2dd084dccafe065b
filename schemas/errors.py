"""Errors named by the reaction they call for; raised by every package, handled at the edge of each loop.

ServiceError
├── RetryLater            the same input may succeed later (storage down, timeout)
├── DeadLetter            this input can never succeed; it is kept with its reason
│   ├── InvalidInput      a field of the input is wrong: `field` and `reason` say which and why
│   └── UnknownVersion    the message was written by a newer release
└── StopProcess           going on would lose or corrupt something; the supervisor restarts us
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class ServiceError(Exception):
    """Base of all errors that name a reaction."""


class RetryLater(ServiceError):
    """The same input may succeed later."""


class DeadLetter(ServiceError):
    """The input can never succeed; keep its bytes and this reason."""


class InvalidInput(DeadLetter):
    """A field of the input is wrong."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason

    def __reduce__(self) -> tuple[type[InvalidInput], tuple[str, str]]:
        """An error of a worker process is told to its parent."""
        return type(self), (self.field, self.reason)


class UnknownVersion(DeadLetter):
    """A message whose type or version this release does not know."""


class StopProcess(ServiceError):
    """Going on would lose or corrupt something."""


@contextmanager
def cancelled_by_client() -> Iterator[None]:
    """Turns a cancellation that nobody asked this task for into RetryLater.

    aiokafka cancels what its callers wait for when a connection or a coordinator closes; left as it is, it would end a
    loop as if it had been told to stop.
    """
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise RetryLater("the client cancelled what was waited for") from None
