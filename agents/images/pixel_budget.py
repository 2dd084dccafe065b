"""Bounds the pixels that the decode threads hold together, however many threads there are. Used by `decode`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class PixelBudget:
    """`limit` pixels, lent to threads. A picture larger than the budget is decoded alone."""

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"limit: must be at least 1, got {limit}")
        self.limit = limit
        self._free = limit
        self._changed = threading.Condition()

    @property
    def free(self) -> int:
        """Pixels that nobody holds."""
        return self._free

    @contextmanager
    def reserve(self, pixels: int) -> Iterator[None]:
        """Hold `pixels` until the block ends; blocks the thread until they are free."""
        amount = min(pixels, self.limit)
        with self._changed:
            self._changed.wait_for(lambda: amount <= self._free)
            self._free -= amount
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()
