"""Reads of Redis keys that come at the same time travel together. Used by `projections.cache`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final, Generic, TypeVar

from projections.patience import Patience

MOST: Final = 64
"""Keys of one MGET: some 200 KB of answers."""

T = TypeVar("T")


class GroupedGets(Generic[T]):
    """While one MGET is under way, further reads wait for the next: one connection serves them all.

    A connection a read would cost the process several times as much, and beyond the client's `max_connections` a read
    would fail.

    Args:
        redis: the client.
        parse: makes of a value what its readers get, once a value; of None for a key that is not there or is no string.
        seconds: how long a read may take, and one MGET; without an end, a server that is cut off would hold up all.

    """

    def __init__(self, redis: Any, *, parse: Callable[[Any], T], seconds: float) -> None:
        self._redis = redis
        self._parse = parse
        self._seconds = seconds
        self._patience = Patience(seconds)
        self._waiting: dict[str, list[asyncio.Future[T]]] = {}
        self._round: asyncio.Task[None] | None = None

    async def get(self, key: str) -> T:
        """The parsed value. Raises redis.RedisError, TimeoutError and what `parse` raises."""
        told: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(told)
        self._patience.begin(told)
        if self._round is None:
            self._round = asyncio.create_task(self._run())
        return await told

    async def _run(self) -> None:
        try:
            while self._waiting:
                keys = list(islice(self._waiting, MOST))
                asked = [self._waiting.pop(key) for key in keys]
                try:
                    async with asyncio.timeout(self._seconds):
                        values = await self._redis.mget(keys)
                    parsed = [self._parse(value) for value in values]
                except Exception as error:  # whatever it is: those who wait must not wait for ever
                    for told in _open(asked):
                        told.set_exception(error)
                else:
                    for waiting, value in zip(asked, parsed, strict=True):
                        for told in _open([waiting]):
                            told.set_result(value)
        finally:
            self._round = None


def _open(asked: Iterable[list[asyncio.Future[Any]]]) -> list[asyncio.Future[Any]]:
    """Those whose readers have not left."""
    return [told for waiting in asked for told in waiting if not told.done()]
