"""Bring the database to a revision of the schema. Called by `app.commands` before the service starts, and by tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

from projections.urls import driver_url
from schemas.errors import StopProcess

T = TypeVar("T")

LOCK_SECONDS: Final = 5
"""How long a migration waits for a table, and others for it: who waits for a table holds up all that come behind."""
_LOCK_NOT_AVAILABLE: Final = "55P03"
_SCRIPTS = Path(__file__).parent / "migrations"


def upgrade(database_url: str, revision: str = "head") -> None:
    """Migrate up to `revision`. Safe to call from several processes at once: they take turns.

    Raises StopProcess when another transaction holds a table for long; to be repeated, also after any other failure.
    """
    _migrate(lambda: command.upgrade(_config(database_url), revision))


def downgrade(database_url: str, revision: str) -> None:
    """Migrate down to `revision`; ``base`` removes everything. Raises as `upgrade`."""
    _migrate(lambda: command.downgrade(_config(database_url), revision))


def current(database_url: str) -> str | None:
    """The database's revision, None when nothing was ever migrated."""
    return _in_own_loop(lambda: asyncio.run(_read_revision(database_url)))


def head() -> str:
    """The newest revision of this release."""
    revision = ScriptDirectory(str(_SCRIPTS)).get_current_head()
    assert revision is not None
    return revision


def sqlalchemy_engine_arguments(database_url: str) -> tuple[str, dict[str, Any]]:
    """SQLAlchemy's URL and the arguments of `asyncpg.connect`.

    The URL goes to asyncpg as it stands: SQLAlchemy would pass libpq's options (``sslmode``, ``host=/socket``) on under
    names that asyncpg does not take.
    """
    return "postgresql+asyncpg://", {
        "dsn": driver_url(database_url),
        "server_settings": {"lock_timeout": f"{LOCK_SECONDS}s"},
    }


def _migrate(work: Callable[[], None]) -> None:
    try:
        _in_own_loop(work)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
            raise
        raise StopProcess(
            "the migration gave up waiting for a table that another transaction holds, so as not to hold up everybody"
            " else; what is done so far is kept: run it again"
        ) from error


def _config(database_url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["database_url"] = database_url
    return config


async def _read_revision(database_url: str) -> str | None:
    connection = await asyncpg.connect(driver_url(database_url))
    try:
        if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
            return None
        revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
        return revision
    finally:
        await connection.close()


def _in_own_loop(work: Callable[[], T]) -> T:
    """Run `work`, which starts an event loop, also when the caller's thread already runs one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(work).result()
