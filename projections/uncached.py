"""Stands in for `projections.refresh.CacheRefresher` where the cache is not kept. Made by `projections.runner`."""

from __future__ import annotations

from collections.abc import Collection


class Uncached:
    """Brings nothing to a cache, and remembers nothing: positions tell a later projector what to bring."""

    def __init__(self) -> None:
        self.stale: dict[str, None] = {}

    async def refresh(self, pets: Collection[str]) -> None:
        """Nothing."""

    async def retry(self) -> None:
        """Nothing."""
