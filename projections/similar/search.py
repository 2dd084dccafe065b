"""What the web views ask the similarity index: the photos and clusters of other pets nearest to a photo or a cluster.

What is found holds now: a photo must lie in its pet's album and a cluster must stand, whatever the index still has.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import asyncpg
import msgspec

from projections.members import count_members
from projections.missing import Missing
from projections.queries import load
from projections.similar.models import Model, find_model
from schemas.ids import UNCLUSTERED, cluster_id

Kind = Literal["photos", "clusters"]

CANDIDATES: Final = 500
"""How many of other pets a search keeps in view: pgvector's `hnsw.ef_search`, less the own pet's photos, which are the
nearest of all and are dropped.
"""
MOST_CANDIDATES: Final = 1000
"""pgvector takes no more."""
CONSIDERED: Final = 200
"""Of what a search gives, how much is put in order, at least: behind a filter it comes in about the right order."""
SCANNED: Final = 40_000
"""Vectors after which a search gives up that filters leave too little of, with `SCAN_MEMORY` times `work_mem`."""
SCAN_MEMORY: Final = 4
_DIGITS: Final = 6


class NotIndexed(LookupError):
    """The photo or cluster is there, but the index has no vector of it, or none of this model."""


class SimilarPhoto(msgspec.Struct, frozen=True, kw_only=True):
    """A photo of another pet. `cosine` to what was asked about; `cluster`: in which it lies, null for none."""

    pet_id: str
    image_id: str
    cosine: float
    cluster: str | None


class SimilarCluster(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster of another pet. `cosine`: of its direction, the mean of its members, to what was asked about."""

    pet_id: str
    cluster: str
    cosine: float
    label: str
    member_count: int
    hero_image_id: str | None


class Similar(msgspec.Struct, frozen=True, kw_only=True):
    """What is near, nearest first, by vectors of `model`; null for a kind that was not asked for."""

    model: str
    photos: list[SimilarPhoto] | None
    clusters: list[SimilarCluster] | None


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What is wanted: at most `limit` of each of `kinds`, none below `min_cosine`, none of the pets `exclude`.

    `model`: by which vectors; None: those that the pet's clusters were made of.
    """

    limit: int
    min_cosine: float = -1.0
    kinds: frozenset[Kind] = frozenset({"photos", "clusters"})
    exclude: tuple[str, ...] = ()
    model: str | None = None


class SimilarReader:
    """Reads on an asyncpg pool. Its methods raise asyncpg's or OSError's errors while Postgres is away, Missing for
    what the pet does not have, and NotIndexed. `candidates`: see `CANDIDATES`.
    """

    def __init__(self, pool: Any, candidates: int = CANDIDATES) -> None:
        self._pool = pool
        self._candidates = candidates

    async def of_image(self, pet_id: str, image_id: str, ask: Ask) -> Similar:
        """What of other pets is near to an image that lies in the pet's album."""
        async with self._snapshot() as connection:
            pet = await _pet(connection, pet_id)
            if await connection.fetchval(load("read_place_now"), pet_id, image_id) is None:
                raise Missing("image")
            model = await _model(connection, ask.model or pet["model"])
            vector = await connection.fetchval(model.statement("read_similar_photo"), pet_id, image_id)
            return await self._search(connection, pet_id, pet["image_count"], model, vector, ask)

    async def of_cluster(self, pet_id: str, number: int, ask: Ask) -> Similar:
        """What of other pets is near to a cluster that holds now. Raises MergedAway for one that has a successor."""
        async with self._snapshot() as connection:
            pet = await _pet(connection, pet_id)
            if number == UNCLUSTERED:
                raise Missing("cluster", "Images in no cluster have no direction.")
            await count_members(connection, pet_id, number, pet["version"])
            model = await _model(connection, ask.model or pet["model"])
            vector = await connection.fetchval(model.statement("read_similar_cluster"), pet_id, number)
            return await self._search(connection, pet_id, pet["image_count"], model, vector, ask)

    async def _search(
        self, connection: Any, pet_id: str, own: int, model: Model, vector: str | None, ask: Ask
    ) -> Similar:
        if vector is None:
            raise NotIndexed(f"its vector by model {model.name} is not indexed (yet)")
        candidates = min(MOST_CANDIDATES, self._candidates + own)
        await connection.execute(load("tune_similar_search"), str(candidates), str(SCANNED), str(SCAN_MEMORY))
        considered = max(CONSIDERED, ask.limit)
        arguments = ([pet_id, *ask.exclude], considered, ask.min_cosine, vector, ask.limit)
        found: dict[Kind, list[Any] | None] = {"photos": None, "clusters": None}
        for kind in ask.kinds:
            found[kind] = await connection.fetch(model.statement(f"nearest_similar_{kind}"), *arguments)
        photos, clusters = found["photos"], found["clusters"]
        return Similar(
            model=model.name,
            photos=None if photos is None else [_photo(row) for row in photos],
            clusters=None if clusters is None else [_cluster(row) for row in clusters],
        )

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[Any]:
        try:
            async with (
                self._pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                yield connection
        except asyncpg.UndefinedTableError as error:
            raise NotIndexed("the index is being made anew") from error


async def _pet(connection: Any, pet_id: str) -> Any:
    row = await connection.fetchrow(load("read_newest_version"), pet_id)
    if row is None:
        raise Missing("pet")
    return row


async def _model(connection: Any, name: str) -> Model:
    model = await find_model(connection, name)
    if model is None:
        raise NotIndexed(f"no vector of model {name} is indexed")
    return model


def _photo(row: Mapping[str, Any]) -> SimilarPhoto:
    number = row["cluster_number"]
    return SimilarPhoto(
        pet_id=row["pet_id"],
        image_id=row["image_id"],
        cosine=round(row["cosine"], _DIGITS),
        cluster=None if number == UNCLUSTERED else cluster_id(row["pet_id"], number),
    )


def _cluster(row: Mapping[str, Any]) -> SimilarCluster:
    return SimilarCluster(
        pet_id=row["pet_id"],
        cluster=cluster_id(row["pet_id"], row["cluster_number"]),
        cosine=round(row["cosine"], _DIGITS),
        label=row["label"],
        member_count=row["member_count"],
        hero_image_id=row["hero_image_id"],
    )
