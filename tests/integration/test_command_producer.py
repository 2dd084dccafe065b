"""The API's producer on a broker that goes away and comes back."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.local.kafka import SHORT_LIVED, KafkaServer
from app.views.producer import CommandProducer
from app.views.services import KafkaUnavailable
from schemas.commands import EmbedImages
from schemas.topics import Topics
from tests.conftest import _create_topics

DEADLINE_SECONDS = 60.0
COMMAND = EmbedImages(pet_id="1", job_id="j", image_ids=("a",), job_images=1)


async def until_connected(producer: CommandProducer) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                await producer.submit([COMMAND], traceparent="")
            except KafkaUnavailable:
                await asyncio.sleep(0.1)
            else:
                return


async def test_submits_fail_while_the_broker_is_away_and_work_again_after(tmp_path: Path) -> None:
    server, topics = KafkaServer(tmp_path / "kafka", java_options=SHORT_LIVED), Topics("p.")
    server.start()
    producer = CommandProducer(
        server.bootstrap_servers, topics, timeout=1.0, clock=lambda: datetime.now(UTC), client_id="test"
    )
    try:
        await _create_topics(server.bootstrap_servers, topics)
        await producer.start()
        await until_connected(producer)
        assert await producer.ping()

        server.kill()
        for _repeat in range(3):
            async with asyncio.timeout(DEADLINE_SECONDS):
                with pytest.raises(KafkaUnavailable):
                    await producer.submit([COMMAND], traceparent="")
        assert not await producer.ping()

        server.start()
        await until_connected(producer)
    finally:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await producer.stop()
            await producer.stop()
        server.stop()


async def test_stopping_ends_while_the_broker_is_away_with_work_unconfirmed(tmp_path: Path) -> None:
    server, topics = KafkaServer(tmp_path / "kafka", java_options=SHORT_LIVED), Topics("p.")
    server.start()
    producer = CommandProducer(
        server.bootstrap_servers, topics, timeout=DEADLINE_SECONDS, clock=lambda: datetime.now(UTC), client_id="test"
    )
    try:
        await _create_topics(server.bootstrap_servers, topics)
        await producer.start()
        await until_connected(producer)
        server.kill()
        open_submit = asyncio.create_task(producer.submit([COMMAND], traceparent=""))
        await asyncio.sleep(0)
        async with asyncio.timeout(DEADLINE_SECONDS / 2):
            await producer.stop()
            with pytest.raises(KafkaUnavailable):
                await open_submit
    finally:
        server.stop()
