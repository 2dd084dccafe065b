"""The models whose vectors are indexed, each with a table of photos and one of clusters: HNSW needs one dimension.

Used by the other modules of this folder, by `prepare` and by `python -m app similar`. A vector stands as in the log,
4096 times the unit vector: whole numbers up to 2048 are exact in half precision, and a cosine has no scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from projections.queries import load
from projections.urls import driver_url
from schemas.errors import StopProcess

EXTENSION: Final = "vector"
OLDEST: Final = (0, 8)
"""The first pgvector that goes on when a filter drops what it has found (iterative scans)."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model with tables. `name`: `{name}@{version}`, as facts and versions have it."""

    number: int
    name: str
    dimension: int

    @property
    def photos(self) -> str:
        """The table of photos' vectors."""
        return f"similar_photos_{self.number}"

    @property
    def clusters(self) -> str:
        """The table of clusters' directions."""
        return f"similar_clusters_{self.number}"

    def statement(self, name: str) -> str:
        """The statement in `{name}.sql` on this model's tables."""
        text = load(name).replace("{photos}", self.photos).replace("{clusters}", self.clusters)
        return text.replace("{dimension}", str(self.dimension))


async def list_models(connection: Any) -> list[Model]:
    """All models that have tables, the oldest first."""
    return [
        Model(row["id"], row["model"], row["dimension"]) for row in await connection.fetch(load("list_similar_models"))
    ]


async def find_model(connection: Any, name: str) -> Model | None:
    """The model of this name, None when no vector of it was ever indexed."""
    return next((model for model in await list_models(connection) if model.name == name), None)


async def add_model(connection: Any, name: str, dimension: int) -> Model:
    """The model, with its tables; inside the caller's transaction, so that another process sees it whole or not."""
    await connection.execute(load("insert_similar_model"), name, dimension)
    model = await find_model(connection, name)
    assert model is not None, "it was there, or was inserted"
    await connection.execute(model.statement("create_similar_tables"))
    return model


async def drop_models(connection: Any) -> int:
    """Drop all tables and forget what was read; how many models there were. Inside the caller's transaction.

    Who writes or searches the index ends before; what comes next begins at the beginning.
    """
    await connection.execute(load("hold_similar_models"))
    await connection.execute(load("delete_similar_positions"))
    models = await list_models(connection)
    for model in models:
        await connection.execute(model.statement("drop_similar_tables"))
    await connection.execute(load("delete_similar_models"))
    await connection.execute(load("delete_similar_pets"))
    return len(models)


async def need_extension(connection: Any) -> None:
    """Raises StopProcess when this database lacks pgvector, or has one that is too old."""
    version = await connection.fetchval(load("read_extension"), EXTENSION)
    if version is None:
        raise StopProcess(
            f"SIMILARITY: this database lacks the extension {EXTENSION} (pgvector). Install it on the server, then run"
            f" `python -m app prepare`, or `CREATE EXTENSION {EXTENSION}` as a superuser; or set SIMILARITY to false"
        )
    found = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if found < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise StopProcess(
            f"SIMILARITY: the extension {EXTENSION} (pgvector) is {version} in this database, but {wanted} is needed:"
            f" `ALTER EXTENSION {EXTENSION} UPDATE` once the server has it"
        )


async def create_extension(database_url: str) -> None:
    """Make the extension where it is missing. Raises StopProcess when the server lacks it, or does not allow it."""
    connection: Any = await asyncpg.connect(driver_url(database_url))
    try:
        try:
            await connection.execute(f"CREATE EXTENSION IF NOT EXISTS {EXTENSION}")
        except (
            asyncpg.FeatureNotSupportedError,
            asyncpg.UndefinedFileError,
            asyncpg.InsufficientPrivilegeError,
        ) as error:
            raise StopProcess(
                f"SIMILARITY: the extension {EXTENSION} (pgvector) cannot be made in this database: {error}. Install it"
                f" on the server and have a superuser run `CREATE EXTENSION {EXTENSION}`; or set SIMILARITY to false"
            ) from error
        await need_extension(connection)
    finally:
        await connection.close()
