"""Trims the stream to what every group has acknowledged, and notices what a producer's MAXLEN cut before it was read.

Called by `bridges.redis_jobs` at intervals (trim) and before each read (cut). A group's floor:

    entries   … 41 42 43 44 45 46 47 …
    group a            ^ oldest pending          → floor 43
    group b                  ^ last delivered    → floor 45, nothing pending
    trimmed   … 41 42 |                            everything below the lowest floor

The last delivered entry stays, so that its absence tells that somebody else has cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from redis.asyncio import Redis

from bridges.metrics import BridgeMetrics
from bridges.stream import reply_text

log = structlog.get_logger(__name__)

_NO_ENTRY = (0, 0)


@dataclass(frozen=True)
class GroupState:
    """What Redis tells of a group. `entries_read` and `lag` are None before Redis 7 and where Redis can not tell."""

    name: str
    last_delivered: str
    oldest_pending: str | None
    pending: int
    entries_read: int | None
    lag: int | None


@dataclass(frozen=True)
class StreamState:
    """What Redis tells of a stream. `entries_added` is None before Redis 7, `first` for an empty stream."""

    length: int
    first: str | None
    entries_added: int | None


def position(entry_id: str) -> tuple[int, int]:
    """An entry id as numbers, for comparing."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)


def trim_floor(groups: Sequence[GroupState]) -> str | None:
    """The lowest id that must stay; None when nothing may be trimmed (no group, or one that has read nothing)."""
    floors = [group.oldest_pending or group.last_delivered for group in groups]
    lowest = min(floors, key=position, default=None)
    return None if lowest is None or position(lowest) == _NO_ENTRY else lowest


def cut_unread(stream: StreamState, group: GroupState) -> int:
    """How many entries somebody cut from the stream before `group` read them, of those after its last delivery.

    Exact from Redis 7 on, which counts entries ever added and ever read. Before, 1 stands for "at least one": the
    last delivered entry, which our own trimming keeps, is gone.
    """
    if stream.first is not None and position(stream.first) <= position(group.last_delivered):
        return 0
    if stream.entries_added is not None and group.entries_read is not None:
        return max(0, stream.entries_added - stream.length - group.entries_read)
    if position(group.last_delivered) == _NO_ENTRY or stream.entries_added is not None:
        return 0
    return 1 if stream.first is not None else 0


class Trimmer:
    """Trims one stream and counts what was lost for one group. Methods raise redis.exceptions.RedisError."""

    def __init__(
        self,
        redis: Redis,
        stream_key: str,
        group: str,
        *,
        approximate: bool = True,
        metrics: BridgeMetrics | None = None,
    ) -> None:
        self._redis = redis
        self._key = stream_key
        self._group = group
        self._approximate = approximate
        self._metrics = metrics or BridgeMetrics()
        self._reported: tuple[str, int] = ("", 0)

    async def groups(self) -> list[GroupState]:
        """Every group of the stream."""
        return [await self._group_state(info) for info in await self._redis.xinfo_groups(self._key)]

    async def trim(self) -> int:
        """Remove what every group has acknowledged; returns how many entries that were."""
        floor = trim_floor(await self.groups())
        if floor is None:
            return 0
        removed = int(await self._redis.xtrim(self._key, minid=floor, approximate=self._approximate))
        if removed:
            self._metrics.trimmed.inc(removed)
            log.debug("stream_trimmed", stream=self._key, entries=removed, floor=floor)
        return removed

    async def watch(self) -> int:
        """Count and report entries that were cut unread since the last call; call it before each read.

        A read makes Redis forget the gap, so what is cut between this call and the read that follows goes unseen.
        """
        stream = await self._stream_state()
        for info in await self._redis.xinfo_groups(self._key):
            if reply_text(info["name"]) == self._group:
                return self._report(cut_unread(stream, _plain_group_state(info)), reply_text(info["last-delivered-id"]))
        return 0

    def _report(self, cut: int, last_delivered: str) -> int:
        """The same gap is seen again and again until the group reads on: report only its growth."""
        already = self._reported[1] if self._reported[0] == last_delivered else 0
        self._reported = (last_delivered, max(cut, already))
        fresh = cut - already
        if fresh <= 0:
            return 0
        self._metrics.lost.inc(fresh)
        log.error("jobs_cut_unread", stream=self._key, group=self._group, entries=fresh, after=last_delivered)
        return fresh

    async def _stream_state(self) -> StreamState:
        info: Mapping[str, Any] = await self._redis.xinfo_stream(self._key)
        first = info["first-entry"]
        return StreamState(info["length"], reply_text(first[0]) if first else None, info.get("entries-added"))

    async def _group_state(self, info: Mapping[str, Any]) -> GroupState:
        state = _plain_group_state(info)
        if not state.pending:
            return state
        summary: Mapping[str, Any] = await self._redis.xpending(self._key, state.name)
        # What was acknowledged between the two questions leaves the older, lower floor: safe.
        oldest = reply_text(summary["min"]) if summary["min"] else None
        return GroupState(
            state.name, state.last_delivered, oldest, int(summary["pending"]), state.entries_read, state.lag
        )


def _plain_group_state(info: Mapping[str, Any]) -> GroupState:
    return GroupState(
        name=reply_text(info["name"]),
        last_delivered=reply_text(info["last-delivered-id"]),
        oldest_pending=None,
        pending=int(info["pending"]),
        entries_read=info.get("entries-read"),
        lag=info.get("lag"),
    )
