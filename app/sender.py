"""Sends a command's messages and waits for the broker's word. Used by `app.dead_letters.console` and `app.purges`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from aiokafka.errors import KafkaError

from app.away import kafka_place
from app.clients import create_producer, stop_producer
from app.hand_over import hand_over
from app.settings import Settings
from bridges.messages import Message
from schemas.errors import StopProcess

SEND_SECONDS: Final = 30.0


class Sender:
    """Connects when it is first used. Raises StopProcess when the broker does not confirm in time, with `advice`."""

    def __init__(
        self, settings: Settings, client_id: str, advice: str = "run the same again, a repeat changes nothing"
    ) -> None:
        self._settings = settings
        self._client_id = client_id
        self._advice = advice
        self._producer: Any = None

    async def send(self, messages: Sequence[Message]) -> None:
        """Returns when the broker has confirmed all messages; of none, when it is connected."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                if self._producer is None:
                    self._producer = create_producer(self._settings, self._client_id)
                    await self._producer.start()
                confirmations = [await hand_over(self._producer, each) for each in messages]
                await asyncio.gather(*confirmations)
        except (KafkaError, OSError, TimeoutError) as error:
            where = kafka_place(self._settings)
            raise StopProcess(f"{where} did not confirm ({type(error).__name__}): {self._advice}") from error

    async def close(self) -> None:
        """Disconnect."""
        if self._producer is not None:
            await stop_producer(self._producer)
