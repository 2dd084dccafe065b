"""The Redis Stream as the bridge uses it: read, take over, acknowledge, bury. Called by `bridges.redis_jobs`.

Speaks to Redis 6.2 and 7 or newer, over RESP2 and RESP3; the client must not decode responses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from bridges.messages import Entry, Letter, dead_letter_fields

log = structlog.get_logger(__name__)

BEGINNING = "0-0"
BATCH_BYTES = 16 * 2**20
"""Of the entries of one read, unless a single one is larger: the largest valid entries, times the default count."""

# XREADGROUP bounds a reply by the number of entries only, and cannot be told to hand a large one out later: so the
# number is found beside the data, in one step with the read, because another consumer may read in between.
_READ_WITHIN = """
local last = '0-0'
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local known = {}
    for i = 1, #group, 2 do known[group[i]] = group[i + 1] end
    if known['name'] == ARGV[1] then last = known['last-delivered-id'] end
end
local size, count = 0, 0
while count < tonumber(ARGV[3]) do
    local entry = redis.call('XRANGE', KEYS[1], '(' .. last, '+', 'COUNT', 1)[1]
    if not entry then break end
    for _, part in ipairs(entry[2]) do size = size + #part end
    if count > 0 and size > tonumber(ARGV[4]) then break end
    count, last = count + 1, entry[1]
end
if count == 0 then return {} end
return redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', count, 'STREAMS', KEYS[1], '>')
"""


@dataclass(frozen=True)
class Batch:
    """What one read returned. `deleted`: ids that are pending though their entries are gone from the stream.

    `cursor`: where a walk goes on, `0-0` at its end. `hidden`: deleted entries were met whose ids Redis did not tell.
    """

    entries: list[Entry]
    deleted: list[str]
    cursor: str = BEGINNING
    hidden: bool = False


@dataclass(frozen=True)
class JobStream:
    """One consumer of one group of one stream. Every method raises redis.exceptions.RedisError."""

    redis: Redis
    key: str
    group: str
    consumer: str
    dead_letter_key: str
    dead_letter_maxlen: int

    async def create_group(self) -> None:
        """Make stream and group when they are missing; the group starts at the stream's first entry."""
        try:
            await self.redis.xgroup_create(self.key, self.group, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        else:
            log.info("group_created", stream=self.key, group=self.group)

    async def read_new(self, count: int, block_ms: int) -> Batch:
        """Entries that nobody of the group has read: as many as there are, up to `count` and `BATCH_BYTES`; else waits
        up to `block_ms` for one.
        """
        reply: Any = await self.redis.eval(
            _READ_WITHIN, 1, self.key, self.group, self.consumer, str(count), str(BATCH_BYTES)
        )
        if not reply:
            return await self._read(">", block_ms)
        return _batch([(entry_id, fields and _pairs(fields)) for entry_id, fields in reply[0][1]])

    async def read_own(self, after: str) -> Batch:
        """The next entry that this consumer has read and not acknowledged, behind `after`.

        One at a time, because any of them may be what a worker has died of.
        """
        return await self._read(after, None)

    async def claim_idle(self, cursor: str, idle_ms: int) -> Batch:
        """Take over an entry that some consumer has left unacknowledged for `idle_ms`, from `cursor` on.

        Redis 7 names entries that are deleted from the stream and drops them from the group. Redis 6.2 returns nil
        for them without their ids, and makes this consumer their owner; `read_own` then tells their ids.
        """
        reply: Any = await self.redis.xautoclaim(
            self.key, self.group, self.consumer, min_idle_time=idle_ms, start_id=cursor, count=1
        )
        batch = _batch(reply[1])
        gone = [reply_text(entry_id) for entry_id in reply[2]] if len(reply) > 2 else []
        hidden = any(entry_id is None for entry_id, _ in reply[1])
        return Batch(batch.entries, batch.deleted + gone, reply_text(reply[0]), hidden)

    async def settle(self, done: Sequence[str], letters: Sequence[Letter], now: datetime) -> None:
        """Bury `letters` and acknowledge all of `done` in one transaction: both happen or neither."""
        async with self.redis.pipeline(transaction=True) as pipe:
            for letter in letters:
                fields: Any = dead_letter_fields(self.key, letter, now=now)
                pipe.xadd(self.dead_letter_key, fields, maxlen=self.dead_letter_maxlen, approximate=True)
            pipe.xack(self.key, self.group, *done)
            await pipe.execute()

    async def oldest_idle_s(self) -> float:
        """Seconds since the oldest pending entry was last handed to a consumer; 0 when nothing is pending."""
        oldest: Any = await self.redis.xpending_range(self.key, self.group, min="-", max="+", count=1)
        return float(oldest[0]["time_since_delivered"]) / 1000 if oldest else 0.0

    async def _read(self, start: str, block_ms: int | None) -> Batch:
        reply: Any = await self.redis.xreadgroup(self.group, self.consumer, {self.key: start}, count=1, block=block_ms)
        if not reply:
            return Batch([], [])
        entries = next(iter(reply.values())) if isinstance(reply, dict) else reply[0][1]
        if len(entries) == 1 and isinstance(entries[0], list):  # RESP3 nests the list once more
            entries = entries[0]
        return _batch(entries)


def _batch(reply: Sequence[tuple[Any, Any]]) -> Batch:
    """Entries apart from deleted ones, which have an id and no fields (an entry always has a field)."""
    known = [(reply_text(entry_id), fields) for entry_id, fields in reply if entry_id is not None]
    entries = [Entry(entry_id, fields) for entry_id, fields in known if fields]
    deleted = [entry_id for entry_id, fields in known if not fields]
    cursor = known[-1][0] if known else BEGINNING
    return Batch(entries, deleted, cursor)


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """Fields as a script returns them: name, value, name, value, …"""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def reply_text(raw: Any) -> str:
    """An id or a name from a reply, whether the client has decoded it or not."""
    return raw.decode() if isinstance(raw, bytes) else str(raw)
