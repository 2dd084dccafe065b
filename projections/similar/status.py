"""How the similarity index stands. Asked by `python -m app similar status`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from projections.positions import stored_positions
from projections.queries import load
from projections.similar.directions import SIMILAR
from projections.similar.graphs import index_of
from projections.similar.models import list_models


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A model's tables: rows, and whether an index is built."""

    model: str
    dimension: int
    photos: int
    clusters: int
    photos_indexed: bool
    clusters_indexed: bool


@dataclass(frozen=True, slots=True)
class Status:
    """`read`: records of the log and of versions, all partitions. `due`: pets that wait for a look."""

    models: list[ModelStatus]
    read: int
    due: int


async def read_status(connection: Any) -> Status:
    """Count; reads every row's key."""
    models = []
    for model in await list_models(connection):
        tables = (model.photos, model.clusters)
        rows = [await connection.fetchval(load("count_rows").replace("{table}", table)) for table in tables]
        built = [await connection.fetchval(load("read_index_valid"), index_of(table)) for table in tables]
        models.append(ModelStatus(model.name, model.dimension, *rows, *built))
    positions = await stored_positions(connection, SIMILAR)
    return Status(models, sum(positions.values()), await connection.fetchval(load("count_due_similar_pets")))
