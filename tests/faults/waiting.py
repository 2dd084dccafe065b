"""Polls a condition in the background. Used all over the fault suite."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool], period: float = 0.05) -> None:
    """Returns once `condition()` holds; whoever cannot wait for ever puts a time-out around it."""
    while not condition():  # noqa: ASYNC110 - what is waited for is another process's doing
        await asyncio.sleep(period)
