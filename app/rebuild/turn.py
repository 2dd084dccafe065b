"""What a rebuild begins with: the turn. Used by `rebuild.py`, `pet.py` and others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from app.rebuild.place import Place
from projections.shadow import runs
from projections.urls import driver_url
from schemas.errors import StopProcess


@asynccontextmanager
async def alone(place: Place) -> AsyncIterator[Any]:
    """A connection that holds the turn. Raises StopProcess while another rebuild does."""
    connection = await asyncpg.connect(driver_url(place.database_url), server_settings={"statement_timeout": "0"})
    try:
        if not await runs.take_turn(connection):
            raise StopProcess("another rebuild is under way")
        yield connection
    finally:
        await connection.close()
