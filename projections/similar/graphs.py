"""The HNSW indexes: built beside readers and writers once a table is large enough and the log is caught up with. Called
by `projections.similar.indexer`.

A photo that is put into a graph costs ten times what it costs when the graph is built of all photos at once, so the
index is not there while a table is filled. Without it, the answers are the same and read every vector.
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg
import structlog

from projections.queries import load
from projections.similar.models import list_models

log = structlog.get_logger(__name__)

FROM_ROWS: Final = 2_000
"""Below it, reading all takes a few milliseconds."""
NEIGHBOURS: Final = 24
"""pgvector's `m`."""
CANDIDATES: Final = 128
"""pgvector's `ef_construction`."""
_BUILD_SECONDS: Final = 86_400.0


async def build_missing(connection: Any, from_rows: int = FROM_ROWS) -> list[str]:
    """Build the indexes that are missing and worth it; their names. Empty while another process is at it."""
    if not await connection.fetchval(load("lock_similar_graphs")):
        return []
    built: list[str] = []
    for model in await list_models(connection):
        for table in (model.photos, model.clusters):
            name = index_of(table)
            if await connection.fetchval(load("read_index_valid"), name):
                continue
            if not await connection.fetchval(load("has_rows").replace("{table}", table), from_rows):
                continue
            try:
                await _build(connection, name, table)
            except asyncpg.UndefinedTableError:  # dropped meanwhile, to be made anew
                return built
            built.append(name)
    return built


def index_of(table: str) -> str:
    """The name of a table's index."""
    return f"{table}_nearest"


async def _build(connection: Any, name: str, table: str) -> None:
    log.info("similar_index_building", index=name)
    await connection.execute("SET statement_timeout = 0")  # the pool takes it back
    # What a run that was killed has left is invalid: nobody reads it, but every writer fills it.
    await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}", timeout=_BUILD_SECONDS)
    await connection.execute(
        f"CREATE INDEX CONCURRENTLY {name} ON {table} USING hnsw (vector halfvec_cosine_ops)"
        f" WITH (m = {NEIGHBOURS}, ef_construction = {CANDIDATES})",
        timeout=_BUILD_SECONDS,
    )
    log.info("similar_index_built", index=name)
