"""The bridge's loop: Redis Stream → `media.jobs`. Wired and run by `python -m app bridge`.

An entry's way, and what a crash behind each step does:
1. read (XREADGROUP) or taken over (XAUTOCLAIM)   it stays pending in the group; read again at the next start
2. translated into commands, or found invalid     the same
3. produced and acknowledged by the broker        the same; the repeat's messages have the same `ce_id`
4. dead letters written and XACK, one transaction it is done
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from bridges.backoff import Backoff
from bridges.handover import Item, Outcome, Producer, hand_over
from bridges.messages import CE_SOURCE, CommandMessages, Entry, Letter, dead_letter_message
from bridges.metrics import BridgeMetrics
from bridges.stream import BEGINNING, Batch, JobStream
from bridges.tasks import Loop, end_tasks
from bridges.translate import parse_entry, to_commands
from bridges.trim import Trimmer
from schemas.errors import InvalidInput
from schemas.headers import utc_now
from schemas.public import LETTER_PAYLOAD_BYTES
from schemas.topics import Topics

log = structlog.get_logger(__name__)

REDIS_ERRORS = (RedisError, OSError)


@dataclass(eq=False)
class EntryItem(Item):
    """An entry on its way, with the letter when it is dead.

    `tries` counts unexpected failures. `payload_limit`: bytes of the original that a dead letter on Kafka may carry.
    """

    entry: Entry
    letter: Letter | None = None
    tries: int = 0
    payload_limit: int = 0


class RedisJobsBridge(Loop):
    """Relays jobs; `run` until `stop`.

    `redis` must not decode responses, and its socket timeout, if any, must exceed `read_timeout_ms`. `producer` must be
    idempotent with acks=all. One batch is under way at a time: nothing is read before the one before is acknowledged,
    so what Kafka does not take stays in Redis.
    """

    def __init__(
        self,
        redis: Redis,
        producer: Producer,
        topics: Topics,
        *,
        stream_key: str,
        group: str,
        consumer_name: str,
        dead_letter_stream: str,
        dead_letter_maxlen: int = 10_000,
        read_count: int = 16,
        read_timeout_ms: int = 5_000,
        retry_idle_ms: int = 60_000,
        max_attempts: int = 5,
        trim_interval_s: float = 10.0,
        trim_approximate: bool = True,
        measure_interval_s: float = 5.0,
        metrics: BridgeMetrics | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        super().__init__()
        self._stream = JobStream(redis, stream_key, group, consumer_name, dead_letter_stream, dead_letter_maxlen)
        self._metrics = metrics or BridgeMetrics()
        self._trimmer = Trimmer(redis, stream_key, group, approximate=trim_approximate, metrics=self._metrics)
        self._producer = producer
        self._topics = topics
        self._read_count = read_count
        self._read_timeout_ms = read_timeout_ms
        self._retry_idle_ms = retry_idle_ms
        self._max_attempts = max_attempts
        self._trim_interval_s = trim_interval_s
        self._measure_interval_s = measure_interval_s
        self._clock = clock

    async def run(self) -> None:
        """Relay until `stop`. Outlives Redis and Kafka being away; raises StopProcess when the producer is broken."""
        self._task = self._task or asyncio.current_task()
        self._working = asyncio.create_task(self._relay())
        parts = {
            self._working,
            asyncio.create_task(self._repeat(self._trim_interval_s, self._trimmer.trim)),
            asyncio.create_task(self._repeat(self._measure_interval_s, self._measure)),
        }
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks(parts)
        for part in parts:
            if not part.cancelled() and (error := part.exception()) is not None:
                raise error

    async def _relay(self) -> None:
        backoff = Backoff(self._stopping)
        while not self._stopping.is_set():
            try:
                await self._stream.create_group()
                await self._take_own()
                backoff.reset()
                await self._take_new()
            except REDIS_ERRORS as error:
                log.warning("redis_unavailable", error=repr(error), tries=backoff.tries)
                await backoff.wait()

    async def _take_own(self) -> None:
        """What this consumer has read before a crash or a lost reply; does not wait until it is idle."""
        after = BEGINNING
        while not self._stopping.is_set():
            batch = await self._stream.read_own(after)
            if not batch.entries and not batch.deleted:
                return
            await self._handle(batch)
            after = batch.cursor

    async def _take_new(self) -> None:
        next_claim = 0.0
        while not self._stopping.is_set():
            if time.monotonic() >= next_claim:
                await self._take_over()
                next_claim = time.monotonic() + min(5.0, self._retry_idle_ms / 2_000)
            await self._trimmer.watch()
            block_ms = max(1, min(self._read_timeout_ms, int((next_claim - time.monotonic()) * 1000)))
            batch = await self._until_stop(self._stream.read_new(self._read_count, block_ms))
            if batch is not None:
                await self._handle(batch)

    async def _take_over(self) -> None:
        """Walk over everything pending in the group and claim what lies idle."""
        cursor, hidden = BEGINNING, False
        while not self._stopping.is_set():
            batch = await self._stream.claim_idle(cursor, self._retry_idle_ms)
            hidden |= batch.hidden
            await self._handle(batch)
            cursor = batch.cursor
            if cursor == BEGINNING:
                break
        if hidden:
            await self._take_own()

    async def _until_stop(self, read: Awaitable[Batch]) -> Batch | None:
        """The read's result, or None when `stop` came first; what Redis may have handed out then stays pending."""
        reading = asyncio.ensure_future(read)
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return await reading if reading.done() else None
        finally:
            reading.cancel()
            stopping.cancel()

    async def _handle(self, batch: Batch) -> None:
        if batch.deleted:
            self._metrics.lost.inc(len(batch.deleted))
            log.error("pending_jobs_cut", stream=self._stream.key, entries=batch.deleted)
            await self._settle(batch.deleted, ())
        items = [self._translate(entry) for entry in batch.entries]
        backoff = Backoff(self._stopping)
        while items and not self._stopping.is_set():
            outcome = await hand_over(self._producer, items)
            if outcome.done:
                letters = [item.letter for item in outcome.done if item.letter]
                await self._settle([item.entry.id for item in outcome.done], letters)
                self._metrics.relayed.inc(len(outcome.done) - len(letters))
            items = self._next_round(outcome)
            if outcome.transient or outcome.unexpected:
                log.warning("handover_failed", entries=len(items), error=repr(outcome.error), tries=backoff.tries)
                await backoff.wait()

    def _translate(self, entry: Entry) -> EntryItem:
        now = self._clock()
        try:
            request = parse_entry(entry.fields, entry.id)
            source = f"redis:{self._stream.key}/{entry.id}"
            commands = to_commands(request, source=source, now=now)
        except InvalidInput as error:
            return self._bury(entry, "invalid", str(error))
        except Exception as error:
            # Translation is pure: it would fail the same way at every try, and hold up everything behind.
            log.exception("translation_failed", entry_id=entry.id)
            return self._bury(entry, "unexpected", repr(error))
        return EntryItem(CommandMessages(self._topics, commands, CE_SOURCE, now, request.traceparent), entry)

    def _bury(self, entry: Entry, kind: str, error: str, limit: int = LETTER_PAYLOAD_BYTES) -> EntryItem:
        letter = Letter(entry, kind, error)
        message = dead_letter_message(self._topics, self._stream.key, letter, now=self._clock(), limit=limit)
        return EntryItem((message,), entry, letter, payload_limit=limit)

    def _next_round(self, outcome: Outcome[EntryItem]) -> list[EntryItem]:
        """The items to send again: what failed for now, and dead letters for what never will succeed."""
        again = list(outcome.transient)
        for item in outcome.too_large:
            if item.letter is None:
                again.append(self._bury(item.entry, "too_large", f"refused by the producer: {outcome.error}"))
            else:
                again.append(self._bury(item.entry, item.letter.kind, item.letter.error, item.payload_limit // 4))
        for item in outcome.unexpected:
            item.tries += 1
            if item.letter is None and item.tries >= self._max_attempts:
                item = self._bury(item.entry, "unexpected", repr(outcome.error))
            again.append(item)
        return again

    async def _settle(self, done: Sequence[str], letters: Sequence[Letter]) -> None:
        """Acknowledge in Redis, however long Redis is away: the broker has the entries, a repeat would be in vain."""
        backoff = Backoff(self._stopping)
        while True:
            try:
                await self._stream.settle(done, letters, self._clock())
                break
            except REDIS_ERRORS as error:
                log.warning("not_acknowledged", entries=len(done), error=repr(error), tries=backoff.tries)
                if self._stopping.is_set():
                    return
                await backoff.wait()
        for letter in letters:
            self._metrics.invalid.inc()
            log.warning("job_dead_lettered", entry_id=letter.entry.id, kind=letter.kind, error=letter.error[:300])

    async def _measure(self) -> None:
        for group in await self._trimmer.groups():
            if group.name == self._stream.group:
                self._metrics.pending.set(group.pending)
                self._metrics.lag_seconds.set(await self._stream.oldest_idle_s())
                if group.lag is not None:
                    self._metrics.unread.set(group.lag)

    async def _repeat(self, interval_s: float, verb: Callable[[], Awaitable[object]]) -> None:
        """Housekeeping beside the relay: what fails now is done at the next turn."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                await verb()
            except ResponseError as error:
                if "no such key" not in str(error):  # the stream is made again by the relay
                    log.warning("housekeeping_failed", error=repr(error))
            except REDIS_ERRORS as error:
                log.warning("housekeeping_failed", error=repr(error))
