"""Makes what must exist before a worker starts: topics, the first facts of each partition, the database's tables.

Called by `python -m app prepare`; all of it is harmless to repeat.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from app.clients import create_producer
from app.models import model_id
from app.settings import Settings
from projections.migrate import upgrade
from schemas.codec import encode_fact, fact_type
from schemas.errors import StopProcess
from schemas.facts import Fact, ModelPromoted, PolicyChanged
from schemas.headers import build_headers, timestamp
from schemas.ids import message_id
from schemas.topics import PARTITION_FACTS_KEY, Topic

log = structlog.get_logger(__name__)
SOURCE = "/prepare"


def prepare(settings: Settings) -> None:
    """Make topics, first facts and tables. Raises StopProcess when existing topics do not fit the settings."""
    asyncio.run(_prepare_kafka(settings))
    upgrade(settings.database_url.get_secret_value())
    log.info("prepared", topics=[topic.name for topic in settings.topics().all()])


async def _prepare_kafka(settings: Settings) -> None:
    await create_topics(settings, settings.topics().all())
    await record_first_facts(settings)


async def create_topics(settings: Settings, topics: tuple[Topic, ...]) -> None:
    """Create the topics that are missing. Raises StopProcess when one exists with another partition count."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    await admin.start()
    try:
        wanted = [
            NewTopic(
                topic.name,
                num_partitions=settings.kafka_partitions,
                replication_factor=settings.kafka_replication_factor,
                topic_configs=topic.configs(),
            )
            for topic in topics
        ]
        response = await admin.create_topics(wanted)
        for name, code, *message in response.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise StopProcess(f"topic {name} cannot be created: {error.__name__} {message[0] if message else ''}")
        for described in await admin.describe_topics([topic.name for topic in topics]):
            found = len(described["partitions"])
            if found and found != settings.kafka_partitions:
                raise StopProcess(
                    f"KAFKA_PARTITIONS: is {settings.kafka_partitions}, but {described['topic']} has {found}; "
                    "the count is given when topics are made and never changes"
                )
    finally:
        await admin.close()


async def record_first_facts(settings: Settings) -> None:
    """Write policy and model into every partition of the log that holds nothing yet: the fold reads no setting."""
    topic = settings.topics().pet_log.name
    facts: tuple[Fact, ...] = (
        PolicyChanged(policy=settings.policy()),
        ModelPromoted(model=model_id(settings), dimension=settings.model_dimension),
    )
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers)
    producer = create_producer(settings, "media-prepare")
    await consumer.start()
    try:
        await producer.start()
        partitions = [TopicPartition(topic, number) for number in range(settings.kafka_partitions)]
        ends: dict[Any, int] = await consumer.end_offsets(partitions)
        for partition in partitions:
            if ends[partition] == 0:
                await _record(producer, partition, facts)
    finally:
        await producer.stop()
        await consumer.stop()


async def _record(producer: AIOKafkaProducer, partition: Any, facts: tuple[Fact, ...]) -> None:
    for fact in facts:
        now = timestamp(datetime.now(UTC))
        identity = message_id("first-fact", partition.topic, partition.partition, type(fact).__name__)
        await producer.send_and_wait(
            partition.topic,
            key=PARTITION_FACTS_KEY.encode(),
            value=encode_fact(fact, event_id=identity, time=now, pet_id=""),
            partition=partition.partition,
            headers=build_headers(event_id=identity, event_type=fact_type(fact), source=SOURCE, time=now),
        )
