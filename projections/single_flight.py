"""Callers who ask for the same thing at the same time share one asking. Used by `projections.current_answers`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """At most one asking a key is under way, in a task of its own: a caller who leaves takes it from nobody else.

    Its result, or its error, goes to all who have come before it landed, and is not kept.
    """

    def __init__(self) -> None:
        self._flights: dict[str, asyncio.Task[T]] = {}

    async def do(self, key: str, ask: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, bool]:
        """The result of `ask`, and whether another caller had begun it. Raises what `ask` raises."""
        flight = self._flights.get(key)
        shared = flight is not None
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(ask())
            # Before anybody else's callback, so that whoever is told of an error and asks again begins anew.
            flight.add_done_callback(lambda landed: self._land(key, landed))
        return await asyncio.shield(flight), shared

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._flights)

    def _land(self, key: str, flight: asyncio.Task[T]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # seen, also where every caller has left
