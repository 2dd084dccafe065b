"""Writes facts about a whole partition of the log. Used by `app.prepare` and `app.policy`."""

from __future__ import annotations

from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer, TopicPartition

from schemas.codec import encode_fact, fact_type
from schemas.facts import Fact
from schemas.headers import build_headers, timestamp
from schemas.topics import PARTITION_FACTS_KEY


async def write_partition_fact(
    producer: AIOKafkaProducer, partition: TopicPartition, fact: Fact, *, event_id: str, source: str
) -> None:
    """Returns when the broker has it. Raises errors of Kafka's client."""
    now = timestamp(datetime.now(UTC))
    await producer.send_and_wait(
        partition.topic,
        key=PARTITION_FACTS_KEY.encode(),
        value=encode_fact(fact, event_id=event_id, time=now, pet_id=""),
        partition=partition.partition,
        headers=build_headers(event_id=event_id, event_type=fact_type(fact), source=source, time=now),
    )
