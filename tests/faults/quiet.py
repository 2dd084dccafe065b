"""Whether nothing is under way any more: every reader has committed all that its topics hold. Awaited by run.py.

Jobs that have ended may still have repeats under way; stopping the roles among them would leave commands unanswered.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from projections.away import POSTGRES_ERRORS
from tests.faults.supervised import SupervisedService

PERIOD_SECONDS: Final = 0.5
AWAY: Final = (KafkaError, *POSTGRES_ERRORS)


async def until_quiet(service: SupervisedService) -> None:
    """Returns once all is read; whoever cannot wait for ever puts a time-out around it."""
    while True:
        with contextlib.suppress(*AWAY):
            if await is_quiet(service):
                return
        await asyncio.sleep(PERIOD_SECONDS)


async def is_quiet(service: SupervisedService) -> bool:
    """One look: in the order in which one topic's records lead to the next one's, twice, and the same both times."""
    topics = service.topics
    readers = (
        ("embed", [topics.jobs.name]),
        ("retry", [tier.name for tier in topics.retries]),
        ("requeue", [topics.deadletter_actions.name]),
        ("fold", [topics.pet_log.name]),
    )
    projected = (topics.jobs, topics.jobs_status, topics.pet_versions, topics.deadletter, topics.deadletter_actions)
    admin = AIOKafkaAdminClient(bootstrap_servers=service.bootstrap_servers)
    consumer = AIOKafkaConsumer(bootstrap_servers=service.bootstrap_servers)
    await consumer.start()
    await admin.start()
    try:
        seen = []
        for _ in range(2):
            for role, names in readers:
                ends = await _ends(consumer, names)
                committed = await admin.list_consumer_group_offsets(f"{topics.prefix}media-{role}")
                if any(committed[tp].offset < end if tp in committed else end > 0 for tp, end in ends.items()):
                    return False
                seen.append(ends)
            ends = await _ends(consumer, [topic.name for topic in projected])
            if await _rows_behind(service, ends):
                return False
        return seen[: len(readers)] == seen[len(readers) :]
    finally:
        await admin.close()
        await consumer.stop()


async def _ends(consumer: AIOKafkaConsumer, names: list[str]) -> dict[TopicPartition, int]:
    partitions: list[TopicPartition] = []
    for name in names:
        await consumer._client.add_topic(name)
        partitions += [TopicPartition(name, number) for number in consumer.partitions_for_topic(name) or ()]
    ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
    return ends


async def _rows_behind(service: SupervisedService, ends: dict[TopicPartition, int]) -> bool:
    connection = await asyncpg.connect(service.database_url, timeout=5)
    try:
        rows = await connection.fetch("SELECT * FROM projection_positions WHERE projection = 'postgres'")
    finally:
        await connection.close()
    reached = {(row["topic"], row["partition"]): row["next_offset"] for row in rows}
    return any(reached.get((tp.topic, tp.partition), 0) < end for tp, end in ends.items())
