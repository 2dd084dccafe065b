"""Facts and the pets' keys into Kafka, as the embed role writes them. Called by __main__.py and benchmarks."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from app.partitions import partition_of
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
_LOOK_SECONDS: Final = 0.2

Tell = Callable[[int], None]


async def write_history(
    bootstrap_servers: str, topics: Topics, size: Size, *, processes: int, tell: Tell = lambda done: None
) -> None:
    """Write a whole history, in `processes` side by side. `tell`: how many facts the broker has so far."""
    end, context = datetime.now(UTC), multiprocessing.get_context("spawn")
    written = [context.Value("q", 0) for _ in range(processes)]
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=(written,)) as pool:
        work = [
            loop.run_in_executor(pool, _write_shard, bootstrap_servers, topics, size, end, shard, processes)
            for shard in range(processes)
        ]
        waiting = asyncio.gather(*work)
        while not waiting.done():
            await asyncio.wait({waiting}, timeout=_LOOK_SECONDS)
            tell(sum(each.value for each in written))
        await waiting


async def write_facts(
    bootstrap_servers: str, topics: Topics, entries: Iterable[Entry], tell: Tell = lambda done: None
) -> None:
    """Write entries in order, each pet's behind its key; returns when the broker has them."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", max_batch_size=2**20, linger_ms=5)
    async with producer:
        partitions = len(await producer.partitions_for(topics.pet_log.name))
        keys: dict[str, PetKey] = {}
        under_way: deque[Any] = deque()
        written, rest = 0, iter(entries)
        while some := list(islice(rest, AT_A_TIME)):
            fresh = {entry.pet_id: _new_key(entry) for entry in some if entry.pet_id not in keys}
            # Nothing is sealed under a key that could be lost.
            sent = [await _send_key(producer, topics, key, partitions) for key in fresh.values()]
            await asyncio.gather(*sent)
            keys |= fresh
            for entry in some:
                under_way.append(await _send_fact(producer, topics, entry, keys[entry.pet_id]))
                written += 1
                while len(under_way) >= UNCONFIRMED:
                    await under_way.popleft()
            tell(written)
        await asyncio.gather(*under_way)


def _new_key(entry: Entry) -> PetKey:
    now = timestamp(entry.time)
    return PetKey(key_id=uuid.uuid4().hex, pet_id=entry.pet_id, created_at=now, secret=os.urandom(SECRET_BYTES))


async def _send_key(producer: Any, topics: Topics, key: PetKey, partitions: int) -> Any:
    identity = message_id("key", key.key_id)
    headers = build_headers(event_id=identity, event_type=PET_KEY_TYPE, source=SOURCE, time=key.created_at)
    return await producer.send(
        topics.pet_keys.name,
        key=key.key_id.encode(),
        value=encode_key(key),
        headers=headers,
        partition=partition_of(key.pet_id, partitions),
    )


async def _send_fact(producer: Any, topics: Topics, entry: Entry, key: PetKey) -> Any:
    fact, now = entry.fact, timestamp(entry.time)
    identity = message_id("embedded", entry.pet_id, fact.job.key, fact.job.part, fact.job.attempt)
    headers = build_headers(event_id=identity, event_type=fact_type(fact), source=SOURCE, time=now)
    value = encode_fact(fact, event_id=identity, time=now, pet_id=entry.pet_id, key=key)
    return await producer.send(topics.pet_log.name, key=entry.pet_id.encode(), value=value, headers=headers)


_written: Sequence[Any] = ()


def _begin(written: Sequence[Any]) -> None:
    global _written
    _written = written


def _write_shard(bootstrap_servers: str, topics: Topics, size: Size, end: datetime, shard: int, shards: int) -> None:
    def tell(done: int) -> None:
        _written[shard].value = done

    entries = history(size, end, shard=shard, shards=shards)
    asyncio.run(write_facts(bootstrap_servers, topics, entries, tell))
