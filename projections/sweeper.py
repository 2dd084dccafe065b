"""The sweeper: submits commands again whose outcome is missing although everybody has passed them. Run by `app` as
part of the role `project`.

The last resort behind every other rule: while they hold it finds nothing. A round, and what a crash behind each step
does:
1. take the turn (a lock in Postgres)             another projector takes it
2. see what is settled (projections.frontier)     seen again
3. produce a command again, under its own `ce_id` produced again in a later round: a repeat changes nothing
4. note it (swept_at, sweeps)                     left alone until the deadline has passed once more
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec
import structlog

from projections.frontier import Frontier, Groups
from projections.offsets import LogOffsets
from projections.queries import load
from projections.rounds import Rounds
from schemas.commands import EMBED_IMAGES_TYPE, EmbedImages, decode_command
from schemas.errors import DeadLetter, RetryLater
from schemas.headers import Headers, build_headers, timestamp, utc_now
from schemas.telemetry import Counter, Unmeasured
from schemas.topics import Topics

log = structlog.get_logger(__name__)

CE_SOURCE: Final = "/project/sweeper"
KAFKA_SECONDS: Final = 30.0
"""How long the broker may take for all questions of a round, and for its word on one command."""
COMMAND_KEY: Final = ("cluster_job_id", "run", "requeue", "part", "attempt")
_UNMEASURED: Final = Unmeasured()


@dataclass(frozen=True, slots=True)
class SweeperMetrics:
    """`swept`: commands submitted again; anything but 0 means that something was lost. `errors`: rounds that failed."""

    swept: Counter = _UNMEASURED
    errors: Counter = _UNMEASURED


class Producer(Protocol):
    """What is used of aiokafka's producer. It must be idempotent with acks=all."""

    async def send_and_wait(self, topic: str, value: bytes, *, key: bytes, headers: Headers) -> Any:
        """Returns when the broker has the message."""
        ...


@asynccontextmanager
async def _answered() -> AsyncIterator[None]:
    """Raises RetryLater when the broker takes too long: a bare TimeoutError would be taken for the database's."""
    try:
        async with asyncio.timeout(KAFKA_SECONDS):
            yield
    except TimeoutError as error:
        raise RetryLater(f"Kafka did not answer within {KAFKA_SECONDS:g} s") from error


class Sweeper(Rounds):
    """Sweeps every `interval_s`; `run` until `stop`, or `sweep` once.

    `deadline_s`: how old a command must be, and how long it is then left alone. `rate_per_s`: commands.
    """

    def __init__(
        self,
        *,
        pool: Any,
        producer: Producer,
        bootstrap_servers: str,
        topics: Topics,
        groups: Groups,
        deadline_s: float = 1800.0,
        interval_s: float = 60.0,
        rate_per_s: int = 10,
        metrics: SweeperMetrics | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._pool = pool
        self._producer = producer
        self._bootstrap_servers = bootstrap_servers
        self._jobs_topic = topics.jobs.name
        self._frontier = Frontier(topics, groups)
        self._deadline_s = deadline_s
        self._rate_per_s = rate_per_s
        self._metrics = metrics or SweeperMetrics()
        self._clock = clock
        super().__init__("sweeper", interval_s, self._metrics.errors)

    async def round(self) -> int:
        """As `sweep`."""
        return await self.sweep()

    async def sweep(self) -> int:
        """One round; how many commands it submitted. 0 when it is another projector's turn."""
        # The pool's reset of the connection gives the lock back, and so does the server when the connection breaks.
        async with self._pool.acquire() as connection:
            if not await connection.fetchval(load("lock_sweep")):
                return 0
            settled = await self._settled(connection)
            most = max(1, int(self._rate_per_s * self._interval_s))
            found = await connection.fetch(
                load("select_lost_commands"), list(settled), list(settled.values()), self._deadline_s, most
            )
            for start in range(0, len(found), self._rate_per_s):
                if start:
                    await asyncio.sleep(1)
                await self._submit(connection, found[start : start + self._rate_per_s])
            return len(found)

    async def _settled(self, connection: Any) -> dict[int, int]:
        async with _answered(), LogOffsets(self._bootstrap_servers) as broker:
            return await self._frontier.advance(broker, connection)

    async def _submit(self, connection: Any, rows: Sequence[Any]) -> None:
        for row in rows:
            try:
                command = decode_command(row["command"].encode())
            except DeadLetter as error:
                log.error("unreadable_command_not_swept", job=str(row["cluster_job_id"]), reason=str(error))
            else:
                await self._produce(command)
            await connection.execute(load("mark_swept"), *(row[name] for name in COMMAND_KEY))

    async def _produce(self, command: EmbedImages) -> None:
        headers = build_headers(
            event_id=command.id, event_type=EMBED_IMAGES_TYPE, source=CE_SOURCE, time=timestamp(self._clock())
        )
        value, key = msgspec.json.encode(command), command.pet_id.encode()
        async with _answered():
            await self._producer.send_and_wait(self._jobs_topic, value, key=key, headers=headers)
        self._metrics.swept.inc()
        where = {"pet_id": command.pet_id, "job_id": command.job_id, "run": command.run}
        log.warning("command_swept", **where, part=command.part, attempt=command.attempt)
