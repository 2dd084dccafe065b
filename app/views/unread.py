"""Stand-ins for a Postgres that the API does not read (READ_POSTGRES). Wired by app/roles/web.py."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import NoReturn

from app.views.errors import READING_OFF, ApiError
from projections.reader import ClusterReader


class UnreadPool:
    """In place of a pool: whoever asks it something gets ApiError `reading_off` at once, and nothing connects."""

    def acquire(self) -> NoReturn:
        """Raises ApiError."""
        raise ApiError(READING_OFF)

    def fetch(self, *_question: object) -> Awaitable[NoReturn]:
        """Raises ApiError."""
        raise ApiError(READING_OFF)

    fetchval = fetchrow = fetch


class UnreadReader(ClusterReader):
    """In place of the reader of current answers and jobs."""

    def __init__(self) -> None:
        super().__init__(UnreadPool())

    async def ping(self) -> None:
        """Returns: what is not read need not answer."""


def unread_stores(*, postgres: bool, redis: bool) -> dict[str, str]:
    """For `WebServices.unread`: the stores that are not read, given whether each is, with the switch to name."""
    read = {"postgres": postgres, "redis": redis}
    return {name: f"not read: READ_{name.upper()} is false" for name, on in read.items() if not on}
