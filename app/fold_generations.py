"""Reads and writes which generation of the fold is at work (`schemas.generations`).

Used by the roles `fold` and `project`, and by rebuilds of the fold's tables, which alone write.
"""

from __future__ import annotations

from aiokafka import TopicPartition

from app.clients import create_producer
from app.settings import Settings
from projections.log_reading import log_consumer, log_end, read
from schemas.errors import StopProcess
from schemas.generations import (
    GENERATION_KEY,
    GENERATION_PARTITION,
    Generation,
    Standing,
    decode_generation,
    encode_generation,
    standing,
)


async def read_standing(settings: Settings) -> Standing:
    """What the topic says now. Raises StopProcess when it is not there, KafkaError while the broker is away."""
    topic = settings.topics().fold_generations.name
    consumer = log_consumer(settings.kafka_bootstrap_servers, topic)
    try:
        await consumer.start()
        if not consumer.partitions_for_topic(topic):
            raise StopProcess(f"the topic {topic} is not there: `prepare` makes it")
        consumer.unsubscribe()
        tp = TopicPartition(topic, GENERATION_PARTITION)
        end = await log_end(consumer, tp)
        records = [decode_generation(record.value) async for some, _ in read(consumer, tp, 0, end) for record in some]
        return standing(records)
    finally:
        await consumer.stop()


async def record_generation(settings: Settings, record: Generation) -> None:
    """Write it; returns when the broker has it."""
    producer = create_producer(settings, "media-rebuild")
    await producer.start()
    try:
        await producer.send_and_wait(
            settings.topics().fold_generations.name,
            encode_generation(record),
            key=GENERATION_KEY,
            partition=GENERATION_PARTITION,
        )
    finally:
        await producer.stop()
