"""The pets' keys as `media.pet-keys` has them. Used by embed and fold, and by whatever replays the log.

Holds every key of the deployment in memory (`pet_key_store` says how large), or those of one partition, and follows the
topic. A fact's key is durable before the fact is, so a key that is missing is either about to arrive or lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaTimeoutError, UnknownTopicOrPartitionError

from agents.pet_key_store import PetKeyStore
from schemas.errors import DeadLetter, StopProcess
from schemas.pet_keys import PetKey, decode_key

log = structlog.get_logger(__name__)
POLL_MS: Final = 200
FETCH_MS: Final = 500
ARRIVAL_SECONDS: Final = 0.5
STILL_SECONDS: Final = 60.0
"""So long without a single record on the way to the topic's end, and a partition cannot be read."""


class PetKeys:
    """A key reader (schemas.pet_keys). `need` starts it; `refresh` and `of_pet` are not for use before `start`.

    `partition`: only of pets of this partition; None for all. `fetch_ms`: how long the broker holds a question for
    more; `refresh` waits behind it.
    """

    def __init__(
        self,
        *,
        bootstrap_servers: str,
        topic: str,
        client_id: str = "media-keys",
        partition: int | None = None,
        fetch_ms: int = FETCH_MS,
    ) -> None:
        self._topic = topic
        self._only = partition
        self._bootstrap_servers = bootstrap_servers
        self._client_id = client_id
        self._fetch_ms = fetch_ms
        self._consumer: Any = None
        self._partitions: list[TopicPartition] = []
        self._keys = PetKeyStore()
        self._read = asyncio.Event()
        self._following: Any = None
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Read all that the topic holds, and follow it; once, whoever asks. Raises StopProcess when it is not there,
        KafkaError while the broker is away.
        """
        async with self._starting:
            if self._following is not None:
                return
            try:
                await self._open()
                self._following = asyncio.create_task(self._follow())
                await self.refresh()
            except BaseException:
                await self.stop()
                raise

    async def _open(self) -> None:
        # In no group, a subscription is an assignment of all partitions; a later `assign` would race with it.
        self._consumer = AIOKafkaConsumer(
            *([] if self._only is not None else [self._topic]),
            bootstrap_servers=self._bootstrap_servers,
            client_id=self._client_id,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=self._fetch_ms,
        )
        try:
            await self._consumer.start()
        except UnknownTopicOrPartitionError:
            raise self._not_there() from None
        if self._only is not None:
            if self._topic not in await self._consumer.topics():
                raise self._not_there()
            self._consumer.assign([TopicPartition(self._topic, self._only)])
        self._partitions = sorted(self._consumer.assignment())

    def _not_there(self) -> StopProcess:
        return StopProcess(f"topic {self._topic} is not there: run `python -m app prepare`")

    async def stop(self) -> None:
        """Let the broker go."""
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def refresh(self) -> None:
        """Return when all is read that the topic holds now. Raises KafkaError while the broker is away, or a partition
        has no leader.
        """
        clock = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(STILL_SECONDS) as limit:
                ends = await self._consumer.end_offsets(self._partitions)
                for tp in self._partitions:
                    reached = -1
                    while (position := await self._consumer.position(tp)) < ends[tp]:
                        if position > reached:
                            reached = position
                            limit.reschedule(clock() + STILL_SECONDS)
                        await self._next_read()
        except TimeoutError:
            raise KafkaTimeoutError(f"nothing of {self._topic} came for {STILL_SECONDS:.0f} s before its end") from None

    async def need(self, key_ids: Iterable[str]) -> None:
        """Look for keys that are not known yet; those that the topic lacks are missed by `find`.

        Nearly always they arrive at once, as the facts do; asking the broker where the topic ends takes far longer.
        """
        wanted = [key_id for key_id in key_ids if key_id not in self._keys]
        if not wanted:
            return
        await self.start()
        try:
            async with asyncio.timeout(ARRIVAL_SECONDS):
                while any(key_id not in self._keys for key_id in wanted):
                    await self._next_read()
        except TimeoutError:
            await self.refresh()

    async def _follow(self) -> None:
        while True:
            for records in (await self._consumer.getmany(timeout_ms=POLL_MS)).values():
                for record in records:
                    self._take(record)
            read, self._read = self._read, asyncio.Event()
            read.set()

    async def _next_read(self) -> None:
        """Wait for the next time that the topic was read; raises what has ended the reading."""
        reading = asyncio.create_task(self._read.wait())
        try:
            await asyncio.wait({reading, self._following}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reading.cancel()
        if self._following.done():
            self._following.result()

    def find(self, key_id: str) -> PetKey:
        """The key, or what is left of it. Raises StopProcess when the topic lacks it."""
        key = self._keys.find(key_id)
        if key is None:
            raise StopProcess(f"{self._topic} lacks key {key_id[:100]!r}: it was lost, not destroyed")
        return key

    def of_pet(self, pet_id: str) -> list[PetKey]:
        """All that the pet ever had, as far as they are known; in the order of their making."""
        return self._keys.of_pet(pet_id)

    def add(self, key: PetKey) -> None:
        """Know a key at once that this process has written; a destroyed one stays so."""
        self._keys.add(key)

    def _take(self, record: Any) -> None:
        where = f"{record.topic}/{record.partition}/{record.offset}"
        try:
            self.add(decode_key(record.value or b""))
        except DeadLetter as error:
            # What was sealed under it, if anything, will be missed by name.
            log.error("pet_key_unreadable", source_id=where, reason=str(error))


@asynccontextmanager
async def open_pet_keys(
    bootstrap_servers: str, topic: str, client_id: str = "media-keys", partition: int | None = None
) -> AsyncIterator[PetKeys]:
    """All keys, or those of a partition's pets, for as long as the block runs."""
    keys = PetKeys(bootstrap_servers=bootstrap_servers, topic=topic, client_id=client_id, partition=partition)
    try:
        await keys.start()
        yield keys
    finally:
        await keys.stop()
