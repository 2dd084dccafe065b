"""The Postgres connections of a process. Called by `app` for the projector and for the views."""

from __future__ import annotations

from typing import Any

import asyncpg

from projections.urls import driver_url
from schemas.errors import InvalidInput

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def create_pool(url: str, *, size: int, statement_timeout_ms: int, ssl_mode: str) -> Any:
    """A pool that connects when it is first awaited (``await pool`` or ``async with pool``).

    `size`: most connections. `statement_timeout_ms`: after which the server ends a statement. `ssl_mode`: as
    libpq spells it.
    Raises InvalidInput naming the wrong argument.
    """
    if size < 1:
        raise InvalidInput("size", f"must be at least 1, got {size}")
    if statement_timeout_ms < 1:
        raise InvalidInput("statement_timeout_ms", f"must be at least 1, got {statement_timeout_ms}")
    if ssl_mode not in SSL_MODES:
        raise InvalidInput("ssl_mode", f"must be one of {', '.join(SSL_MODES)}, got {ssl_mode!r}")
    return asyncpg.create_pool(
        driver_url(url),
        min_size=0,
        max_size=size,
        ssl=ssl_mode,
        timeout=10,
        # Beyond the server's own limit: it ends a wait for a server that no longer answers at all.
        command_timeout=statement_timeout_ms / 1000 + 5,
        server_settings={
            "application_name": "media-clustering",
            "statement_timeout": str(statement_timeout_ms),
            "timezone": "UTC",
            # Our statements touch few rows; compiling them takes longer than running them.
            "jit": "off",
        },
    )
