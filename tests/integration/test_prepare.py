"""`prepare` may run at any time, as often as one likes, and stops when the settings do not fit what exists."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from app.local.kafka import KafkaServer
from app.prepare import create_topics, record_first_facts
from app.settings import Settings
from schemas.codec import decode_fact, encode_fact
from schemas.errors import StopProcess
from schemas.facts import ModelPromoted, PolicyChanged
from schemas.topics import PARTITION_FACTS_KEY, Topics
from tests.conftest import TEST_PARTITIONS
from tests.e2e.kafka_log import read_topic


def settings_for(kafka: KafkaServer, topics: Topics, **changes: Any) -> Settings:
    return Settings(
        kafka_bootstrap_servers=kafka.bootstrap_servers,
        kafka_topic_prefix=topics.prefix,
        **{"kafka_partitions": TEST_PARTITIONS, **changes},
    )


async def facts_in(kafka: KafkaServer, topics: Topics) -> list[tuple[int, str]]:
    records = await read_topic(kafka.bootstrap_servers, topics.pet_log.name)
    assert {record.key for record in records} == {PARTITION_FACTS_KEY.encode()}
    return sorted((record.partition, type(decode_fact(record.value)[1]).__name__) for record in records)


async def test_every_partition_gets_policy_and_model_once(kafka: KafkaServer, topics: Topics) -> None:
    settings = settings_for(kafka, topics)
    for _ in range(2):
        await create_topics(settings, topics.all())
        await record_first_facts(settings)
    expected = [(p, name) for p in range(TEST_PARTITIONS) for name in ("ModelPromoted", "PolicyChanged")]
    assert await facts_in(kafka, topics) == expected


async def test_a_run_that_died_between_the_facts_is_completed(kafka: KafkaServer, topics: Topics) -> None:

    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers)
    await producer.start()
    policy = PolicyChanged(policy=settings_for(kafka, topics).policy())
    value = encode_fact(policy, event_id="e", time="2026-11-21T00:00:00.000000+00:00", pet_id="")
    await producer.send_and_wait(topics.pet_log.name, key=PARTITION_FACTS_KEY.encode(), value=value, partition=1)
    await producer.stop()
    await record_first_facts(settings_for(kafka, topics))
    expected = [(p, name) for p in range(TEST_PARTITIONS) for name in ("ModelPromoted", "PolicyChanged")]
    assert await facts_in(kafka, topics) == expected


async def test_another_model_than_the_logs_is_refused(kafka: KafkaServer, topics: Topics) -> None:
    await record_first_facts(settings_for(kafka, topics))
    with pytest.raises(StopProcess, match=r"EMBEDDING_MODEL_NAME.*efficientnet-lite0@1.*other@1"):
        await record_first_facts(settings_for(kafka, topics, embedding_model_name="other"))
    records = await read_topic(kafka.bootstrap_servers, topics.pet_log.name)
    models = {f.model for r in records if isinstance(f := decode_fact(r.value)[1], ModelPromoted)}
    assert models == {"efficientnet-lite0@1"}


async def test_another_partition_count_than_the_topics_is_refused(kafka: KafkaServer, topics: Topics) -> None:
    with pytest.raises(StopProcess, match=r"KAFKA_PARTITIONS: is 5, but .* has 3"):
        await create_topics(settings_for(kafka, topics, kafka_partitions=5), topics.all())


async def test_a_log_that_is_not_kept_for_ever_is_refused(kafka: KafkaServer, topics: Topics) -> None:
    await configure(kafka, topics.pet_log.name, {"retention.ms": "1000000"})
    with pytest.raises(StopProcess, match=r"media\.pet-log: retention\.ms is 1000000"):
        await create_topics(settings_for(kafka, topics), topics.all())


async def test_topics_that_take_writes_on_one_replica_are_refused_where_there_are_three(
    kafka: KafkaServer, topics: Topics
) -> None:
    settings = settings_for(kafka, topics, kafka_replication_factor=3)
    with pytest.raises(StopProcess, match=r"min\.insync\.replicas is 1, .* must be 2 or more"):
        await create_topics(settings, topics.all())
    for topic in topics.all():
        await configure(kafka, topic.name, topic.configs(3))
    await create_topics(settings, topics.all())


async def settings_of(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    return {entry[0]: entry[1] for *_, entries in response.resources for entry in entries}


async def configure(kafka: KafkaServer, topic: str, configs: dict[str, str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=configs)])
        for _ in range(600):  # the broker learns of it a moment later
            if configs.items() <= (await settings_of(admin, topic)).items():
                return
            await asyncio.sleep(0.05)
        pytest.fail(f"the broker never learned of {configs}")
    finally:
        await admin.close()
