"""Retention: trims versions and settled dead letters to the days that are kept. Run by `app` as part of the role
`project`, and once by its command `retention`.

A round, and what a crash behind each step does:
1. take the turn (a lock in Postgres)             another projector takes it
2. see where each pet's history begins            seen again
3. delete a batch (projections.trimming)          the next round finds what is left
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog

from projections.queries import load
from projections.rounds import Rounds
from projections.trimming import Trimmed, Trimmer
from schemas.telemetry import Counter, Gauge, Histogram, Unmeasured

log = structlog.get_logger(__name__)

BATCH_ROWS: Final = 500
PAUSE_SECONDS: Final = 0.1
"""Between batches, so that a first round over years of history leaves the disk to others."""
_UNMEASURED: Final = Unmeasured()


@dataclass(frozen=True, slots=True)
class RetentionMetrics:
    """`removed(table)`: rows deleted. `seconds`: of a round. `oldest`: Unix time of the oldest version that stays,
    pinned ones apart. `finished`: Unix time of the last round's end. `errors`: rounds that failed.
    """

    removed: Callable[[str], Counter] = lambda table: _UNMEASURED
    seconds: Histogram = _UNMEASURED
    oldest: Gauge = _UNMEASURED
    finished: Gauge = _UNMEASURED
    errors: Counter = _UNMEASURED


class Retention(Rounds):
    """Trims every `interval_s` to the last `days`; `run` until `stop`, or `trim` once.

    `batch_rows`: most rows a transaction deletes. `pause_s`: between transactions that deleted something.
    """

    def __init__(
        self,
        *,
        pool: Any,
        days: int,
        interval_s: float = 3600.0,
        batch_rows: int = BATCH_ROWS,
        pause_s: float = PAUSE_SECONDS,
        metrics: RetentionMetrics | None = None,
    ) -> None:
        self._pool = pool
        self._days = days
        self._batch_rows = batch_rows
        self._pause_s = pause_s
        self._metrics = metrics or RetentionMetrics()
        super().__init__("retention", interval_s, self._metrics.errors)

    async def round(self) -> Trimmed | None:
        """As `trim`."""
        return await self.trim()

    async def trim(self, *, dry: bool = False) -> Trimmed | None:
        """One round; what it removed, or with `dry` would remove. None when it is another one's turn."""
        # The pool's reset of the connection gives the lock back, and so does the server when the connection breaks.
        async with self._pool.acquire() as connection:
            if not await connection.fetchval(load("lock_retention")):
                return None
            began = time.monotonic()
            trimmer = Trimmer(
                days=self._days,
                rows=self._batch_rows,
                pause_s=self._pause_s,
                on_removed=lambda table, rows: self._metrics.removed(table).inc(rows),
                dry=dry,
            )
            done = await trimmer.trim(connection)
        if not dry:
            self._observe(done, time.monotonic() - began)
        return done

    def _observe(self, done: Trimmed, seconds: float) -> None:
        self._metrics.seconds.observe(seconds)
        self._metrics.finished.set(time.time())
        if done.oldest is not None:
            self._metrics.oldest.set(done.oldest.timestamp())
        if any(done.removed.values()):
            log.info("trimmed", pets=done.pets, seconds=round(seconds, 3), **done.removed)
