"""Asks the fold to fold pets anew under the policy in force: a fact for each pet. Used by `console`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from app.pace import Pace
from app.partitions import partition_of
from app.policy.change import request_id
from app.policy.in_force import InForce
from app.progress import Display
from projections.queries import load
from schemas.codec import encode_fact, fact_type
from schemas.facts import ReclusterRequested
from schemas.headers import build_headers, timestamp

SOURCE: Final = "/policy"
PAGE: Final = 1_000
_DOING: Final = "asking for reclusters"


async def pets_behind(pool: Any, after: str) -> list[str]:
    """The pets with a version whose id comes behind `after`, in order. Raises asyncpg's and OSError's errors."""
    found: list[str] = []
    while rows := await pool.fetch(load("list_pets"), found[-1] if found else after, PAGE):
        found += [row["pet_id"] for row in rows]
    return found


class Reclusters:
    """Sends them, at most `rate` a second. `found`: what is in force, by partition. `run`: see `request_id`."""

    def __init__(
        self, producer: AIOKafkaProducer, topic: str, found: Mapping[int, InForce], rate: float, run: str
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._found = found
        self._pace = Pace(rate)
        self._run = run
        self.confirmed = 0
        """How many pets' facts the broker has, from the first on."""

    async def send(self, pets: Sequence[str], display: Display) -> None:
        """Returns when the broker has them all. Raises errors of Kafka's client."""
        began = time.monotonic()
        for start in range(0, len(pets), PAGE):
            page = pets[start : start + PAGE]
            confirmations = []
            for number, pet_id in enumerate(page, start=1):
                await self._pace.wait()
                confirmations.append(await self._one(pet_id))
                display.step(_DOING, start + number, len(pets), time.monotonic() - began)
            await asyncio.gather(*confirmations)
            self.confirmed += len(page)
        display.stop()

    async def _one(self, pet_id: str) -> asyncio.Future[Any]:
        force = self._found[partition_of(pet_id, len(self._found))]
        fact = ReclusterRequested(
            request_id=request_id(pet_id, force, self._run), reason=f"policy {force.policy.policy_id}"
        )
        now = timestamp(datetime.now(UTC))
        confirmation: asyncio.Future[Any] = await self._producer.send(
            self._topic,
            key=pet_id.encode(),
            value=encode_fact(fact, event_id=fact.request_id, time=now, pet_id=pet_id),
            partition=force.partition,
            headers=build_headers(event_id=fact.request_id, event_type=fact_type(fact), source=SOURCE, time=now),
        )
        return confirmation
