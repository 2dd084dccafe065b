"""What asyncpg raises while Postgres is away. Used by whoever talks to it, here and in `app`."""

from __future__ import annotations

from typing import Final

import asyncpg

POSTGRES_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    # "cannot switch to state …": the server has cut the connection in just that moment, and the client has not seen it.
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
