"""A large made-up log, written by several processes, is one that the fold takes: sealed, keyed, whole and in order."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import UTC, datetime

from app.local.kafka import KafkaServer
from schemas.codec import decode_fact
from schemas.facts import ImagesEmbedded
from schemas.topics import Topics
from tests.e2e.kafka_log import read_log, read_topic
from tests.scale.history import Size, history
from tests.scale.write import write_history

SIZE = Size(pets=5, images=30, big=60)


def test_what_is_written_is_the_history(kafka: KafkaServer, topics: Topics) -> None:
    told: list[int] = []
    asyncio.run(write_history(kafka.bootstrap_servers, topics, SIZE, processes=2, tell=told.append))
    assert told[-1] == SIZE.jobs
    sealed = asyncio.run(read_topic(kafka.bootstrap_servers, topics.pet_log.name))
    assert all(names_no_image(record.value) for record in sealed)
    found: dict[str, list[ImagesEmbedded]] = defaultdict(list)
    for record in asyncio.run(read_log(kafka.bootstrap_servers, topics)):
        _, fact = decode_fact(record.value)
        assert isinstance(fact, ImagesEmbedded)
        found[record.key.decode()].append(fact)
    wanted: dict[str, list[ImagesEmbedded]] = defaultdict(list)
    for entry in history(SIZE, datetime.now(UTC)):
        wanted[entry.pet_id].append(entry.fact)
    images = {pet: [fact.images for fact in facts] for pet, facts in wanted.items()}
    assert {pet: [fact.images for fact in facts] for pet, facts in found.items()} == images


def names_no_image(value: bytes) -> bool:
    """Whether the record tells nothing of its images without the key."""
    return b"_img_" not in value
