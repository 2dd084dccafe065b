"""A cluster's direction: the mean of its members' vectors, made anew when the cluster has changed enough. Called by
`projections.similar.indexer`.

A pet is looked at once its rows have the version that was told and its vectors stand up to that version's fact. Then
clusters that began since the last look, were split, took another one over, or have an eighth more or fewer members
than at their last mean are averaged anew: an arriving photo costs eight reads of a vector in the long run. A pet that
is seen for the first time, or whose rows a rebuild has replaced, is looked at whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from projections.positions import ROWS
from projections.queries import load
from projections.similar.models import Model, list_models

SIMILAR: Final = "similar"
"""This projection, in the tables of positions and generations."""
PETS_AT_ONCE: Final = 50
CHANGED_BY: Final = 8
"""A cluster is due when its count differs by one part in so many."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A cluster now, and its direction: `counted` members at its last mean, None without one. `regrouped`: it was
    split, or took another cluster over, since the last look.
    """

    number: int
    members: int
    counted: int | None
    regrouped: bool


def is_due(cluster: Standing, *, whole: bool) -> bool:
    """Whether a cluster's direction is to be made anew."""
    if whole or cluster.counted is None or cluster.regrouped:
        return True
    return abs(cluster.members - cluster.counted) * CHANGED_BY >= cluster.counted


async def follow_generation(connection: Any, versions_topic: str) -> bool:
    """See that every pet is looked at whole when the live rows are others than the ones that were looked at; whether
    that was so. What the projector has written is then known, so that older versions need not be read.
    """
    async with connection.transaction():
        if not await connection.fetchval(load("claim_similar_generation")):
            return False
        # Every pet with rows: more than a statement's time where there are millions.
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute(load("seed_similar_pets"), timeout=3600)
        await connection.execute(load("raise_similar_positions"), SIMILAR, ROWS, versions_topic)
        return True


async def renew_some(connection: Any, log_topic: str) -> tuple[int, int]:
    """Look at some pets that are due and ready, in one transaction: (pets, directions made anew). No pets: none is."""
    async with connection.transaction():
        await connection.execute(load("share_similar_models"))
        due = await connection.fetch(load("list_due_similar_pets"), log_topic, PETS_AT_ONCE)
        models = {model.name: model for model in await list_models(connection)} if due else {}
        renewed = 0
        for pet in due:
            renewed += await _look(connection, pet, models)
        return len(due), renewed


async def _look(connection: Any, pet: Any, models: dict[str, Model]) -> int:
    model, whole, renewed = models.get(pet["model"]), pet["looked"] == 0, 0
    for other in models.values():
        if other is not model:
            await connection.execute(other.statement("delete_similar_clusters_of_pet"), pet["pet_id"], pet["version"])
    if model is not None:
        await connection.execute(model.statement("delete_ended_similar_clusters"), pet["pet_id"])
        if whole:
            await connection.execute(model.statement("delete_unheld_similar_photos"), pet["pet_id"], pet["log_offset"])
        renewed = await _renew(connection, pet, model, whole=whole)
    await connection.execute(load("note_similar_look"), pet["pet_id"], pet["version"])
    return renewed


async def _renew(connection: Any, pet: Any, model: Model, *, whole: bool) -> int:
    rows = await connection.fetch(model.statement("list_changed_similar_clusters"), pet["pet_id"], pet["looked"])
    due = [each for each in (Standing(**row) for row in rows) if is_due(each, whole=whole)]
    if due:
        numbers, members = [each.number for each in due], [each.members for each in due]
        statement = model.statement("renew_similar_clusters")
        await connection.execute(statement, pet["pet_id"], numbers, members, pet["version"])
    return len(due)
