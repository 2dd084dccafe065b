"""The web role's own Kafka producer: submitted jobs → `media.jobs`, operators' actions on dead letters → their topic,
users' decisions → `media.pet-log`. Started and stopped with the API.

It connects in the background, so that the API starts and answers reads while Kafka is down; until it is connected, and
whenever the broker does not confirm in time, a submit fails at once or within `timeout`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from app.hand_over import hand_over
from app.views.services import KafkaUnavailable
from bridges.messages import Message, command_message
from schemas.commands import EmbedImages
from schemas.topics import MAX_MESSAGE_BYTES, Topics

log = structlog.get_logger(__name__)

CE_SOURCE: Final = "/web"
_FIRST_DELAY_SECONDS: Final = 0.2
_LONGEST_DELAY_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 5.0


class CommandProducer:
    """An idempotent producer with acks=all. `timeout`: seconds for the broker's word on all messages of one call."""

    def __init__(
        self, bootstrap_servers: str, topics: Topics, *, timeout: float, clock: Callable[[], datetime], client_id: str
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topics = topics
        self._timeout = timeout
        self._clock = clock
        self._client_id = client_id
        self._producer: Any = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to connect; returns at once."""
        self._spawn(self._connect())

    async def stop(self) -> None:
        """Stop connecting, close the connection; a second call does nothing."""
        producer, self._producer = self._producer, None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if producer is not None:
            await _close(producer)

    async def submit(self, commands: Sequence[EmbedImages], *, traceparent: str) -> None:
        """Returns after the broker has confirmed all commands. Raises KafkaUnavailable.

        After a failure some of them may stand in the topic nevertheless: their ids are those of any repeat.
        """
        now = self._clock()
        await self.send(
            [
                command_message(self._topics, command, ce_source=CE_SOURCE, now=now, traceparent=traceparent)
                for command in commands
            ]
        )

    async def send(self, messages: Sequence[Message]) -> None:
        """Returns after the broker has confirmed all messages. Raises KafkaUnavailable, as `submit` does."""
        producer = self._producer
        if producer is None:
            raise KafkaUnavailable("not connected")
        try:
            async with asyncio.timeout(self._timeout):
                confirmations = [await hand_over(producer, message) for message in messages]
                await asyncio.gather(*confirmations)
        except (KafkaError, OSError, TimeoutError) as error:
            self._replace(producer)
            raise KafkaUnavailable(f"not confirmed: {type(error).__name__}") from error

    async def ping(self) -> bool:
        """Whether a broker answers and knows the topic; may wait long, so give it a timeout."""
        producer = self._producer
        if producer is None:
            return False
        return bool(await producer.client.force_metadata_update()) and bool(
            await producer.partitions_for(self._topics.jobs.name)
        )

    def _replace(self, producer: Any) -> None:
        # An idempotent producer repeats what was not confirmed for as long as it lives: jobs that were answered with
        # 503 would pile up in it and block later ones. A new one starts clean, and tells at once while Kafka is away.
        if self._producer is producer:
            self._producer = None
            self._spawn(_close(producer))
            self._spawn(self._connect())

    async def _connect(self) -> None:
        delay = _FIRST_DELAY_SECONDS
        while True:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._bootstrap_servers,
                client_id=self._client_id,
                acks="all",
                enable_idempotence=True,
                max_request_size=MAX_MESSAGE_BYTES,
            )
            try:
                await producer.start()
            except (KafkaError, OSError) as error:
                log.warning("kafka_unavailable", error=repr(error), retry_in_seconds=delay)
                await _close(producer)
            except asyncio.CancelledError:
                await _close(producer)
                raise
            else:
                self._producer = producer
                log.info("kafka_connected")
                return
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LONGEST_DELAY_SECONDS)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _close(producer: Any) -> None:
    """Close without waiting for what the broker has not confirmed: whoever submitted it has had an answer."""
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            # Its stop() flushes first, which never ends while Kafka is away; failing the batches ends the flush.
            producer._message_accumulator.fail_all(KafkaUnavailable("closed"))
            await producer.stop()
    except (KafkaError, OSError, TimeoutError) as error:
        log.warning("kafka_close_failed", error=f"{type(error).__name__}: {error}")
        await producer.client.close()
