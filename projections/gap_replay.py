"""Versions folded from the log again, for a pet whose versions have a gap. Called by `projections.batches`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from projections.replayed import Change, feed
from schemas.codec import keys_named
from schemas.decisions import DecisionSettled
from schemas.errors import InvalidInput
from schemas.pet_keys import KeyReader
from schemas.topics import Topics
from schemas.versions import PetErased
from tables.replay import LogReplay

log = structlog.get_logger(__name__)

POLL_MS: Final = 1000
POLL_RECORDS: Final = 500


class LogVersions:
    """Reads `media.pet-log` with a consumer of its own, in no group; one consumer a call. `keys`: open its facts."""

    def __init__(
        self,
        *,
        bootstrap_servers: str,
        topics: Topics,
        keys: KeyReader,
        client_id: str = "media-project-replay",
        consumer_options: dict[str, Any] | None = None,
    ) -> None:
        self._topic = topics.pet_log.name
        self._keys = keys
        self._options = {
            "bootstrap_servers": bootstrap_servers,
            "client_id": client_id,
            "group_id": None,
            "enable_auto_commit": False,
            # Not `seek_to_beginning`: it is lost when it meets the client's own reset to "latest", and nothing is read.
            "auto_offset_reset": "earliest",
            **(consumer_options or {}),
        }

    async def replay(self, pet_id: str, partition: int, after_version: int) -> AsyncGenerator[Change, None]:
        """The pet's versions after `after_version`, its purges and decisions, up to the end that the partition has now.

        A purge has the number of the last version that it destroyed, a refused decision that of the one at which it was
        refused: those of `after_version` itself are among them.

        Raises InvalidInput for a partition that the log lacks, UnknownVersion for a newer release's fact, and
        KafkaError while the broker is away.
        """
        # Subscribed at first, since only then does the client learn which partitions the topic has.
        consumer = AIOKafkaConsumer(self._topic, **self._options)
        await consumer.start()
        try:
            if partition not in (consumer.partitions_for_topic(self._topic) or ()):
                raise InvalidInput("partition", f"{self._topic} has no partition {partition}")
            async with aclosing(self._fold(consumer, pet_id, TopicPartition(self._topic, partition))) as changes:
                async for change in changes:
                    if change.version > after_version - isinstance(change, PetErased | DecisionSettled):
                        yield change
        finally:
            await consumer.stop()

    async def _fold(self, consumer: Any, pet_id: str, tp: TopicPartition) -> AsyncGenerator[Change, None]:
        fold = LogReplay(tp.partition, only_pet=pet_id, keys=self._keys)
        consumer.unsubscribe()
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        while await consumer.position(tp) < end:
            polled = await consumer.getmany(tp, timeout_ms=POLL_MS, max_records=POLL_RECORDS)
            records = polled.get(tp, ())
            await self._keys.need(key_id for record in records for key_id in keys_named(record.value or b""))
            for record in records:
                if record.offset >= end:
                    return
                for change in feed(fold, record.offset, record.key or b"", record.value or b""):
                    yield change
