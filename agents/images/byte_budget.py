"""Bounds the bytes that many tasks hold together. Used by `ImagePipeline`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Reservation:
    """Bytes of a budget that one task holds."""

    def __init__(self, budget: ByteBudget, amount: int) -> None:
        self._budget = budget
        self.amount = amount

    def shrink(self, amount: int) -> None:
        """Keep only `amount`, at most what is held, and give the rest back."""
        given_back = self.amount - min(amount, self.amount)
        self.amount -= given_back
        self._budget.give_back(given_back)


class ByteBudget:
    """`limit` bytes, lent in the order of asking, so that a large request is not overtaken for ever."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.free = limit
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def reserve(self, amount: int) -> AsyncIterator[Reservation]:
        """Hold `amount` bytes until the block ends; waits for them. Raises ValueError when it is over the limit."""
        if amount > self.limit:
            raise ValueError(f"amount: {amount} is over the budget of {self.limit}")
        await self._take(amount)
        reservation = Reservation(self, amount)
        try:
            yield reservation
        finally:
            reservation.shrink(0)

    async def _take(self, amount: int) -> None:
        if not self._waiting and amount <= self.free:
            self.free -= amount
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # lent at the same moment: nobody would give it back
                self.give_back(amount)
            else:
                self._waiting = deque(entry for entry in self._waiting if entry[1] is not turn)
                self._lend()
            raise

    def give_back(self, amount: int) -> None:
        """Return bytes and lend them to who waits longest."""
        self.free += amount
        self._lend()

    def _lend(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.free:
            amount, turn = self._waiting.popleft()
            if turn.cancelled():
                continue
            self.free -= amount
            turn.set_result(None)
