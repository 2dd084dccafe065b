"""A purged pet's rows in the similarity index. Called by `projections.erasure` in the projector's own transaction, also
while the index is switched off, and by `projections.similar.photos`.
"""

from __future__ import annotations

from typing import Any

from projections.queries import load
from projections.similar.models import list_models
from schemas.versions import PetErased


async def erase_similar(connection: Any, erased: PetErased) -> dict[str, int]:
    """Delete vectors and directions of before the purge; how many rows of each table that had any.

    What the log holds before the purge and is read later comes back to no row: the index meets the purge there, too.
    """
    models, removed = await list_models(connection), {}
    await connection.execute(load("unmark_similar_pet"), erased.pet_id, erased.version)
    for model in models:
        for table, name, bound in (
            (model.clusters, "delete_similar_clusters_of_pet", erased.version),
            (model.photos, "delete_similar_photos_of_pet", erased.offset),
        ):
            answer = await connection.execute(model.statement(name), erased.pet_id, bound)
            removed[table] = int(answer.removeprefix("DELETE "))
    return {table: rows for table, rows in removed.items() if rows}
