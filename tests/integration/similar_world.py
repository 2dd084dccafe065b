"""A log of embedded photos with the rows that it leads to, and similarity indexes over both. Used by the tests of the
similarity index, here and over HTTP.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer

from projections.erasure import erase_pet
from projections.postgres import apply_version
from projections.similar.indexer import SimilarIndexer
from projections.similar.models import Model, create_extension, find_model
from projections.similar.telemetry import SimilarMetrics
from schemas.codec import encode_fact, encode_version
from schemas.errors import StopProcess
from schemas.facts import Fact, PetPurged
from schemas.pet_keys import KeyReader, PetKey
from schemas.topics import Topics
from schemas.versions import PetErased, PetVersion
from tables.replay import LogReplay
from tests.albums import MODEL, Directions, embedded, image

TIME = "2026-11-21T08:00:00.000000+00:00"


@dataclass
class Keys:
    """A ring of the keys that it was given; lost is what it never had."""

    known: dict[str, PetKey] = field(default_factory=dict)

    def find(self, key_id: str) -> PetKey:
        """As schemas.pet_keys.KeyRing."""
        if key_id not in self.known:
            raise StopProcess(f"key {key_id} is not known")
        return self.known[key_id]

    async def need(self, key_ids: Iterable[str]) -> None:
        """There is no topic to ask."""


@dataclass
class SimilarWorld:
    """Publishes facts, folds them as the fold does, and writes the rows as the projector does."""

    bootstrap_servers: str
    topics: Topics
    pool: Any
    producer: AIOKafkaProducer
    keys: Keys = field(default_factory=Keys)
    replays: dict[int, LogReplay] = field(default_factory=dict)
    job: Iterable[int] = field(default_factory=itertools.count)

    async def embed(
        self, pet_id: str, vectors: Mapping[str, bytes], *, model: str = MODEL, project: bool = True, **job: Any
    ) -> PetVersion | None:
        """Photos of a pet come, and with `project` the version that they lead to; it is returned in any case."""
        fact = embedded(
            [image(name, vector) for name, vector in vectors.items()], job_id=f"job-{next(iter(self.job))}", **job
        )
        change = await self.publish(pet_id, msgspec.structs.replace(fact, model=model), project=project)
        assert change is None or isinstance(change, PetVersion)
        return change

    async def publish(self, pet_id: str, fact: Fact, *, project: bool = True) -> PetVersion | PetErased | None:
        """Write a fact, and what the fold makes of it."""
        key = next((key for key in self.keys.known.values() if key.pet_id == pet_id and key.destroyed is None), None)
        value = encode_fact(fact, event_id=f"e{next(iter(self.job))}", time=TIME, pet_id=pet_id, key=key)
        at = await self.producer.send_and_wait(self.topics.pet_log.name, value, key=pet_id.encode())
        replay = self.replays.setdefault(at.partition, LogReplay(at.partition, keys=self.keys))
        change = replay.feed(at.offset, pet_id.encode(), value)
        if change is not None:
            await self.send(change)
            if project:
                await self.project(change)
        return change

    async def send(self, change: PetVersion | PetErased) -> None:
        """Tell of a version or a purge."""
        name, key = self.topics.pet_versions.name, change.pet_id.encode()
        await self.producer.send_and_wait(name, encode_version(change), key=key, partition=change.partition)

    async def project(self, change: PetVersion | PetErased) -> None:
        """Write it to Postgres as the projector does."""
        async with self.pool.acquire() as connection, connection.transaction():
            if isinstance(change, PetErased):
                await erase_pet(connection, change)
            else:
                await apply_version(connection, change)

    async def purge(self, pet_id: str, *, until: str = TIME, project: bool = True) -> PetErased:
        """The pet is purged."""
        fact = PetPurged(purge_id=f"purge-{next(iter(self.job))}", accepted_until=until)
        erased = await self.publish(pet_id, fact, project=project)
        assert isinstance(erased, PetErased)
        return erased

    def indexer(
        self, *, pool: Any = None, keys: KeyReader | None = None, metrics: SimilarMetrics | None = None
    ) -> SimilarIndexer:
        """An index that works round by round."""
        return SimilarIndexer(
            pool=pool or self.pool,
            bootstrap_servers=self.bootstrap_servers,
            topics=self.topics,
            keys=keys or self.keys,
            interval_s=0.01,
            metrics=metrics or SimilarMetrics(),
        )

    async def index(self, indexer: SimilarIndexer | None = None) -> None:
        """One round, by an index that begins and ends here unless one is given."""
        one = indexer or self.indexer()
        try:
            await one.round()
        finally:
            if indexer is None:
                await one._disconnect()

    async def model(self, name: str = MODEL) -> Model:
        """The tables of a model."""
        async with self.pool.acquire() as connection:
            model = await find_model(connection, name)
        assert model is not None
        return model

    async def photos(self, pet_id: str, name: str = MODEL) -> list[str]:
        """The photos of a pet that have a vector."""
        table = (await self.model(name)).photos
        rows = await self.pool.fetch(f"SELECT image_id FROM {table} WHERE pet_id = $1 ORDER BY 1", pet_id)
        return [row["image_id"] for row in rows]

    async def directions(self, pet_id: str) -> dict[int, tuple[int, list[float]]]:
        """Cluster → (members at its last mean, direction)."""
        table = (await self.model()).clusters
        rows = await self.pool.fetch(
            f"SELECT cluster_number, member_count, vector::text FROM {table} WHERE pet_id = $1", pet_id
        )
        return {row[0]: (row[1], msgspec.json.decode(row[2], type=list[float])) for row in rows}


@asynccontextmanager
async def similar_world(
    bootstrap_servers: str, topics: Topics, pool: Any, database_url: str
) -> AsyncIterator[SimilarWorld]:
    """A world on a migrated database, which gets the extension."""
    await create_extension(database_url)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all") as producer:
        yield SimilarWorld(bootstrap_servers, topics, pool, producer)


def burst(directions: Directions, direction: Any, *names: str, spread: float = 0.3) -> dict[str, bytes]:
    """Photos near a direction."""
    return {name: directions.near(direction, spread) for name in names}
