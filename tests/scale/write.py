"""Facts and the pets' keys into Kafka, as the embed role writes them. Called by __main__.py and benchmarks."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from app.partitions import partition_of
from app.worker_processes import work_on_all
from projections.shadow.runs import Mark
from schemas.codec import encode_fact, fact_type
from schemas.headers import build_headers, timestamp
from schemas.ids import message_id
from schemas.pet_keys import PET_KEY_TYPE, SECRET_BYTES, PetKey, encode_key
from schemas.topics import Topics
from tests.scale.history import Entry, Size, history

SOURCE: Final = "/embed"
AT_A_TIME: Final = 200
UNCONFIRMED: Final = 1_000
"""Messages that may be on their way; each is about 27 KB."""

Tell = Callable[[int], None]


@dataclass(frozen=True)
class _Shard:
    """Every `shards`th pet of a history that ends at `end`, for another process."""

    bootstrap_servers: str
    topics: Topics
    size: Size
    end: datetime
    number: int
    shards: int


async def write_history(
    bootstrap_servers: str, topics: Topics, size: Size, *, processes: int, tell: Tell = lambda done: None
) -> None:
    """Write a whole history, in `processes` side by side. `tell`: how many facts have been sent so far."""
    end, sent = datetime.now(UTC), dict[int, int]()

    def told(mark: Mark) -> None:
        sent[mark.partition] = mark.events
        tell(sum(sent.values()))

    shards = [_Shard(bootstrap_servers, topics, size, end, number, processes) for number in range(processes)]
    await work_on_all(_write_shard, shards, processes, told)
    tell(size.jobs)


async def _write_shard(shard: _Shard, told: Callable[[Mark], None]) -> None:
    entries = history(shard.size, shard.end, shard=shard.number, shards=shard.shards)
    async with open_writer(shard.bootstrap_servers, shard.topics) as writer:
        await writer.write(entries, lambda done: told(Mark(shard.number, events=done)))


async def write_facts(bootstrap_servers: str, topics: Topics, entries: Iterable[Entry]) -> None:
    """Write entries in order, each pet's behind its key; returns when the broker has them."""
    async with open_writer(bootstrap_servers, topics) as writer:
        await writer.write(entries)


@asynccontextmanager
async def open_writer(bootstrap_servers: str, topics: Topics) -> AsyncIterator[FactWriter]:
    """A writer; what it was given is with the broker at the end of the block."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", max_batch_size=2**20, linger_ms=5)
    async with producer:
        writer = FactWriter(producer, topics, len(await producer.partitions_for(topics.pet_log.name)))
        yield writer
        await writer.finish()


class FactWriter:
    """Seals facts and sends them; a pet gets its key with its first fact."""

    def __init__(self, producer: Any, topics: Topics, partitions: int) -> None:
        self._producer = producer
        self._topics = topics
        self._partitions = partitions
        self._keys: dict[str, PetKey] = {}
        self._under_way: deque[Any] = deque()

    async def write(self, entries: Iterable[Entry], tell: Tell = lambda done: None) -> None:
        """Send them in order. `tell`: how many of them have been sent."""
        written, rest = 0, iter(entries)
        while some := list(islice(rest, AT_A_TIME)):
            fresh = {entry.pet_id: _new_key(entry) for entry in some if entry.pet_id not in self._keys}
            # Nothing is sealed under a key that could be lost.
            await asyncio.gather(*[await self._send_key(key) for key in fresh.values()])
            self._keys |= fresh
            for entry in some:
                self._under_way.append(await self._send_fact(entry, self._keys[entry.pet_id]))
                while len(self._under_way) >= UNCONFIRMED:
                    await self._under_way.popleft()
            written += len(some)
            tell(written)

    async def finish(self) -> None:
        """Returns when the broker has everything."""
        await asyncio.gather(*self._under_way)
        self._under_way.clear()

    async def _send_key(self, key: PetKey) -> Any:
        identity = message_id("key", key.key_id)
        return await self._producer.send(
            self._topics.pet_keys.name,
            key=key.key_id.encode(),
            value=encode_key(key),
            headers=build_headers(event_id=identity, event_type=PET_KEY_TYPE, source=SOURCE, time=key.created_at),
            partition=partition_of(key.pet_id, self._partitions),
        )

    async def _send_fact(self, entry: Entry, key: PetKey) -> Any:
        fact, now = entry.fact, timestamp(entry.time)
        identity = message_id("embedded", entry.pet_id, fact.job.key, fact.job.part, fact.job.attempt)
        return await self._producer.send(
            self._topics.pet_log.name,
            key=entry.pet_id.encode(),
            value=encode_fact(fact, event_id=identity, time=now, pet_id=entry.pet_id, key=key),
            headers=build_headers(event_id=identity, event_type=fact_type(fact), source=SOURCE, time=now),
        )


def _new_key(entry: Entry) -> PetKey:
    now = timestamp(entry.time)
    return PetKey(key_id=uuid.uuid4().hex, pet_id=entry.pet_id, created_at=now, secret=os.urandom(SECRET_BYTES))
