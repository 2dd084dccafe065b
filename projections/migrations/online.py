"""Indexes for tables in use, built while others read and write. Called by the migrations in `versions`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from alembic import op

_BUILD_LOCK_TIMEOUT: Final = "10min"
"""A build waits for the transactions that were open before it, but nobody waits for a build."""


def build_index(name: str, on: str, *, unique: bool = False) -> None:
    """Build an index anew: what a run that failed has left of it, invalid or not, goes first.

    `on`: what follows ON. Only inside an autocommit block: a build must not be part of a transaction.
    """
    op.execute(f"SET lock_timeout = '{_BUILD_LOCK_TIMEOUT}'")
    op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
    op.execute(f"CREATE {'UNIQUE ' if unique else ''}INDEX CONCURRENTLY {name} ON {on}")
    op.execute("SET lock_timeout TO DEFAULT")


def build_key(table: str, columns: Sequence[str]) -> None:
    """Build the index of the table's next primary key. As `build_index`."""
    build_index(_next_key(table), f"{table} ({', '.join(columns)})", unique=True)


def swap_key(table: str) -> None:
    """Make the index of `build_key` the primary key. Locks the table for a moment: no row is read."""
    op.drop_constraint(f"{table}_pkey", table)
    op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {table}_pkey PRIMARY KEY USING INDEX {_next_key(table)}")


def _next_key(table: str) -> str:
    return f"{table}_next_key"
