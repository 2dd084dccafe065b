"""Spellings of a Postgres URL. Used by `projections.pool` and `projections.migrate`."""

from __future__ import annotations

import re

from schemas.errors import InvalidInput

_SCHEME = re.compile(r"^postgres(?:ql)?(?:\+[a-z0-9]+)?://")


def driver_url(url: str) -> str:
    """`url` as asyncpg takes it: ``postgresql://…``. Raises InvalidInput for another database's URL."""
    plain, replaced = _SCHEME.subn("postgresql://", url)
    if not replaced:
        raise InvalidInput("DATABASE_URL", "must start with postgresql://")
    return plain
