"""Up to where of the log the table, Postgres and Redis must hold everything by now. Used by `partition` and `pets`.

    1  the fold's group has committed F       every event below F is durable: rows in the changelog, versions sent
    2  where does media.pet-versions end? T   all of those versions lie below
    3  the projector's rows have reached T    and stand in Postgres
    4  so has its position of the cache        and no cached answer is older

The order is what makes it sound: each end is read after the position that it stands for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition

from projections.offsets import LogOffsets
from projections.positions import CACHE, ROWS
from projections.queries import load


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`folded`: F, `sent`: T of the picture."""

    folded: int
    sent: int


class Settled:
    """Keeps the checkpoints of one partition; each look begins with a new one."""

    def __init__(self, log: TopicPartition, versions: TopicPartition, group: str) -> None:
        self._log = log
        self._versions = versions
        self._group = group
        self._checkpoints: list[Checkpoint] = []

    async def checkpoint(self, broker: LogOffsets) -> int:
        """Steps 1 and 2; F: what the table must hold from now on."""
        folded = (await broker.committed(self._group, [self._log]))[self._log]
        sent = (await broker.ends([self._versions]))[self._versions]
        self._checkpoints.append(Checkpoint(folded, sent))
        return folded

    async def projected(self, connection: Any) -> int:
        """Step 3: below which offset of the log Postgres must hold everything; in the caller's snapshot."""
        return await self._passed(connection, ROWS)

    async def cached(self, connection: Any) -> int:
        """Step 4: below which offset of the log everything is in the answers that Redis gives from now on."""
        return await self._passed(connection, CACHE)

    async def _passed(self, connection: Any, projection: str) -> int:
        rows = await connection.fetch(load("read_positions"), projection)
        place = self._versions.topic, self._versions.partition
        reached = next((row["next_offset"] for row in rows if (row["topic"], row["partition"]) == place), 0)
        return max((each.folded for each in self._checkpoints if each.sent <= reached), default=0)
