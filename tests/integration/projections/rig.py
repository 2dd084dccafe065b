"""A projector on the real broker, with what it dead-letters and replays kept at hand. Used by test_runner."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer, ConsumerRecord

from projections.batches import Replay
from projections.cache import AnswerCache
from projections.membership import Membership
from projections.replayed import Change
from projections.runner import Projector
from projections.telemetry import ProjectorMetrics
from schemas.answers import ClusterAnswer
from schemas.codec import encode_version
from schemas.commands import EmbedImages, PurgePet
from schemas.decisions import DecisionSettled
from schemas.public import DeadLetterRecord, JobStatus
from schemas.topics import Topics
from schemas.versions import PetErased, PetVersion
from tests.integration.projections.samples import eventually

Sent = PetVersion | PetErased | DecisionSettled | EmbedImages | PurgePet | JobStatus | DeadLetterRecord
QUICK_GROUP = {"session_timeout_ms": 6000, "heartbeat_interval_ms": 500}


@dataclass
class Counted:
    """A counter that can be read."""

    value: float = 0

    def inc(self, amount: float = 1) -> None:
        self.value += amount


@dataclass
class Rig:
    """One deployment's broker side; `projector` runs one on it."""

    bootstrap_servers: str
    topics: Topics
    pool: Any
    cache: AnswerCache | None
    producer: AIOKafkaProducer
    log: dict[str, list[Change]] = field(default_factory=dict)
    replays: list[tuple[str, int, int]] = field(default_factory=list)
    dead: list[tuple[str, bytes | None, str]] = field(default_factory=list)

    def projector(
        self,
        *,
        group: str = "project",
        bootstrap_servers: str = "",
        pool: Any = None,
        replay: Replay | None = None,
        metrics: ProjectorMetrics | None = None,
    ) -> Projector:
        membership = Membership(
            bootstrap_servers=bootstrap_servers or self.bootstrap_servers,
            group_id=f"{self.topics.prefix}{group}",
            options=QUICK_GROUP,
        )
        return Projector(
            membership=membership,
            topics=self.topics,
            pool=pool or self.pool,
            cache=self.cache,
            replay=replay or self.replay,
            dead_letter=self.dead_letter,
            metrics=metrics,
        )

    @asynccontextmanager
    async def running(
        self,
        *,
        group: str = "project",
        pool: Any = None,
        replay: Replay | None = None,
        metrics: ProjectorMetrics | None = None,
    ) -> AsyncIterator[Projector]:
        projector = self.projector(group=group, pool=pool, replay=replay, metrics=metrics)
        await projector.start()
        try:
            yield projector
        finally:
            await projector.stop()

    async def replay(self, pet_id: str, partition: int, after_version: int) -> AsyncGenerator[Change, None]:
        self.replays.append((pet_id, partition, after_version))
        for version in self.log.get(pet_id, []):
            if version.version > after_version - isinstance(version, PetErased | DecisionSettled):
                yield version

    async def dead_letter(self, record: ConsumerRecord, reason: str) -> None:
        self.dead.append((record.topic.removeprefix(self.topics.prefix), record.value, reason))

    async def send(self, *messages: Sent, partition: int | None = None) -> None:
        sent: list[Awaitable[Any]] = []
        for message in messages:
            topic, value = self._encoded(message)
            sent.append(await self.producer.send(topic, value, key=message.pet_id.encode(), partition=partition))
        for each in sent:
            await each

    async def send_bytes(self, topic: str, key: str, value: bytes, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        await self.producer.send_and_wait(topic, value, key=key.encode(), headers=list(headers))

    def _encoded(self, message: Sent) -> tuple[str, bytes]:
        if isinstance(message, PetVersion | PetErased | DecisionSettled):
            return self.topics.pet_versions.name, encode_version(message)
        kinds = {JobStatus: self.topics.jobs_status, DeadLetterRecord: self.topics.deadletter}
        topic = kinds.get(type(message), self.topics.jobs)
        return topic.name, msgspec.json.encode(message)

    async def until_version(self, pet_id: str, number: int) -> None:
        """Until the rows stand at this version."""
        await eventually(lambda: self._stands_at(pet_id, number))

    async def _stands_at(self, pet_id: str, number: int) -> bool:
        last = await self.pool.fetchval("SELECT max(version) FROM pet_clusters WHERE pet_id = $1", pet_id)
        assert (last or 0) <= number, f"{pet_id} went past version {number} to {last}"
        return bool(last == number)

    async def until_cached(self, pet_id: str, number: int) -> ClusterAnswer:
        """Until the cache holds this version's answer, which is returned."""

        async def cached() -> ClusterAnswer | None:
            value = await self.cache.get(pet_id) if self.cache else None
            answer = msgspec.json.decode(value, type=ClusterAnswer) if value else None
            return answer if answer and answer.version == number else None

        answer: ClusterAnswer = await eventually(cached)
        return answer
