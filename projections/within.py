"""A wait that ends when it is to. Used by whoever asks a store on behalf of somebody who waits, here and in `app`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

# The event loop itself holds tasks weakly.
_abandoned: Final[set[asyncio.Task[Any]]] = set()


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. Raises TimeoutError after `seconds`, with `work` cancelled and no longer waited for.

    asyncpg answers a cancellation only when the server has confirmed it or `command_timeout` is over, up to 35 s, so
    that `asyncio.timeout` alone would hang for as long with a server that is frozen or cut off.
    """
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        _abandon(task)
        raise
    if not done:
        _abandon(task)
        raise TimeoutError(f"no answer in {seconds:g} s")
    return task.result()


def _abandon(task: asyncio.Task[Any]) -> None:
    _abandoned.add(task)
    task.add_done_callback(_forget)
    task.cancel()


def _forget(task: asyncio.Task[Any]) -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()  # its caller has been told that it took too long
