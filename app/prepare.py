"""Makes what must exist before a worker starts: topics, the first facts of each partition, the database's tables.

Called by `python -m app prepare`; all of it is harmless to repeat.
"""

from __future__ import annotations

import asyncio
import time

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from app.clients import create_producer
from app.faust_apps import TABLES, changelog_topic
from app.models import model_id
from app.partition_facts import write_partition_fact
from app.settings import Settings
from projections.migrate import upgrade
from projections.similar.models import create_extension
from schemas.codec import decode_fact
from schemas.errors import StopProcess
from schemas.facts import Fact, ModelPromoted, PolicyChanged
from schemas.ids import message_id
from schemas.topics import PARTITION_FACTS_KEY, Topic

log = structlog.get_logger(__name__)
SOURCE = "/prepare"
HEAD_RECORDS = 64
KNOWN_WITHIN_SECONDS = 60.0


def prepare(settings: Settings) -> None:
    """Make topics, first facts and tables. Raises StopProcess when existing topics do not fit the settings, or the
    database lacks what they ask for.
    """
    asyncio.run(_prepare_kafka(settings))
    database_url = settings.database_url.get_secret_value()
    upgrade(database_url)
    if settings.similarity:
        asyncio.run(create_extension(database_url))
    log.info("prepared", topics=[topic.name for topic in settings.topics().all()])


async def _prepare_kafka(settings: Settings) -> None:
    # The changelogs too: a worker that makes its own may start before the broker has told all of it (seen once).
    changelogs = tuple(changelog_topic(settings, role) for role in TABLES)
    await create_topics(settings, (*settings.topics().all(), *changelogs))
    await record_first_facts(settings)


async def create_topics(settings: Settings, topics: tuple[Topic, ...]) -> None:
    """Create the topics that are missing.

    Raises StopProcess when one exists with another partition count, or loses what must be kept.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    await admin.start()
    try:
        wanted = [
            NewTopic(
                topic.name,
                num_partitions=settings.kafka_partitions,
                replication_factor=settings.kafka_replication_factor,
                topic_configs=topic.configs(settings.kafka_replication_factor),
            )
            for topic in topics
        ]
        response = await admin.create_topics(wanted)
        for name, code, *message in response.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise StopProcess(f"topic {name} cannot be created: {error.__name__} {message[0] if message else ''}")
        for name, found in (await _partition_counts(admin, [topic.name for topic in topics])).items():
            if found != settings.kafka_partitions:
                raise StopProcess(
                    f"KAFKA_PARTITIONS: is {settings.kafka_partitions}, but {name} has {found}; "
                    "the count is given when topics are made and never changes"
                )
        await _check_durable(admin, topics, settings.kafka_replication_factor)
    finally:
        await admin.close()


async def _partition_counts(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    """Partitions of each topic, once the broker knows all of them: it learns of a new one a moment later."""
    deadline = time.monotonic() + KNOWN_WITHIN_SECONDS
    while True:
        described = {row["topic"]: len(row["partitions"]) for row in await admin.describe_topics(names)}
        if all(described.get(name) for name in names):
            return described
        if time.monotonic() > deadline:
            unknown = [name for name in names if not described.get(name)]
            raise StopProcess(f"topics that were created are not known to the broker: {', '.join(unknown)}")
        await asyncio.sleep(0.1)


async def _check_durable(admin: AIOKafkaAdminClient, topics: tuple[Topic, ...], replication_factor: int) -> None:
    """What an existing topic must not have otherwise; other settings are the operator's."""
    described = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, t.name) for t in topics])
    for code, _message, _kind, name, entries in (row for response in described for row in response.resources):
        if code:
            raise StopProcess(f"topic {name}: its settings cannot be read: {for_code(code).__name__}")
        topic, found = next(t for t in topics if t.name == name), {entry[0]: entry[1] for entry in entries}
        wanted = topic.configs(replication_factor)
        durable = ["cleanup.policy", "retention.ms"] if topic.retention_ms == -1 and not topic.compacted else []
        for setting in durable:
            if found[setting] != wanted.get(setting, "delete"):
                raise StopProcess(f"topic {name}: {setting} is {found[setting]}, but it is kept for ever")
        if int(found["min.insync.replicas"]) < int(wanted["min.insync.replicas"]):
            raise StopProcess(
                f"topic {name}: min.insync.replicas is {found['min.insync.replicas']}, but with "
                f"KAFKA_REPLICATION_FACTOR={replication_factor} it must be {wanted['min.insync.replicas']} or more"
            )


async def record_first_facts(settings: Settings) -> None:
    """Write policy and model to the head of every partition of the log that lacks them: the fold reads no setting.

    Raises StopProcess when the log was begun with another model than the settings name.
    """
    topic = settings.topics().pet_log.name
    facts: tuple[Fact, ...] = (
        PolicyChanged(policy=settings.policy()),
        ModelPromoted(model=model_id(settings), dimension=settings.model_dimension),
    )
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    producer = create_producer(settings, "media-prepare")
    try:
        await consumer.start()
        await producer.start()
        for number in range(settings.kafka_partitions):
            partition = TopicPartition(topic, number)
            found = await _facts_at_head(consumer, partition)
            _check_model(found, facts[1])
            await _record(producer, partition, [fact for fact in facts if type(fact) not in map(type, found)])
    finally:
        await producer.stop()
        await consumer.stop()


async def _facts_at_head(consumer: AIOKafkaConsumer, partition: TopicPartition) -> list[Fact]:
    """The partition facts among the first `HEAD_RECORDS` records: the first that `prepare` wrote stand there."""
    end = min((await consumer.end_offsets([partition]))[partition], HEAD_RECORDS)
    consumer.assign([partition])
    found: list[Fact] = []
    while await consumer.position(partition) < end:
        for record in (await consumer.getmany(timeout_ms=1000, max_records=HEAD_RECORDS)).get(partition, []):
            if record.key == PARTITION_FACTS_KEY.encode() and record.offset < end:
                found.append(decode_fact(record.value)[1])
    return found


def _check_model(found: list[Fact], wanted: Fact) -> None:
    recorded = next((fact for fact in found if isinstance(fact, ModelPromoted)), wanted)
    if recorded != wanted:
        raise StopProcess(
            f"EMBEDDING_MODEL_NAME: the log was begun with {recorded}, but the settings name {wanted}; "
            "vectors of two models are never compared"
        )


async def _record(producer: AIOKafkaProducer, partition: TopicPartition, facts: list[Fact]) -> None:
    for fact in facts:
        identity = message_id("first-fact", partition.topic, partition.partition, type(fact).__name__)
        await write_partition_fact(producer, partition, fact, event_id=identity, source=SOURCE)
