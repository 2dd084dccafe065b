"""Where consumer groups and topics stand, as the broker tells.

Used by `projections.sweeper`, for one round each, by `app.backup`, `app.verify` and `app.whatif`, and by rebuilds of
the fold's tables.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AsyncExitStack
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code

from schemas.errors import StopProcess


class LogOffsets:
    """Opened with ``async with``; every method raises KafkaError, or waits, while the broker is away."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._admin: Any = None
        self._consumer: Any = None
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            self._admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap_servers)
            opening.push_async_callback(self._admin.close)
            await self._admin.start()
            self._consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap_servers, enable_auto_commit=False)
            opening.push_async_callback(self._consumer.stop)
            await self._consumer.start()
            self._opened = opening.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._opened.aclose()

    async def partitions(self, topic: str) -> list[int]:
        """The partition numbers of a topic."""
        (described,) = await self._admin.describe_topics([topic])
        return sorted(partition["partition"] for partition in described["partitions"])

    async def partitions_there(self, topic: str) -> list[int]:
        """As `partitions`; to be asked before any consumer reads the topic, since a broker may make what is asked for.

        Raises StopProcess when it is not there.
        """
        numbers = await self.partitions(topic)
        if not numbers:
            raise StopProcess(f"the topic {topic} is not there; `prepare` makes it")
        return numbers

    async def committed(self, group: str, asked: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The group's next offsets; where it has committed nothing, the first that the broker still has."""
        if not asked:
            return {}
        found = await self._admin.list_consumer_group_offsets(group, partitions=list(asked))
        offsets = {tp: found[tp].offset for tp in asked if tp in found and found[tp].offset >= 0}
        missing = [tp for tp in asked if tp not in offsets]
        return offsets | await self.begins(missing)

    async def members(self, group: str) -> list[str]:
        """The ids of the group's members, of static ones their name and a suffix; empty when nobody is in it."""
        (described,) = await self._admin.describe_consumer_groups([group])
        (error, _group, _state, _type, _protocol, members, *_), *_ = described.groups
        if error:
            raise for_code(error)(f"group {group}")
        return sorted(member[0] for member in members)

    async def ends(self, asked: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The next offset that each partition will give."""
        if not asked:
            return {}
        self._learn(asked)
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets(list(asked))
        return ends

    async def begins(self, asked: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The first offset that each partition still has, or will give."""
        if not asked:
            return {}
        self._learn(asked)
        begins: dict[TopicPartition, int] = await self._consumer.beginning_offsets(list(asked))
        return begins

    def _learn(self, asked: Collection[TopicPartition]) -> None:
        # Has the client ask now who leads them: of a topic that it does not know it finds out only at its next try, a
        # tenth of a second later. Paused, since an answer would come only behind a fetch that waits for records.
        self._consumer.assign(list(asked))
        self._consumer.pause(*asked)
