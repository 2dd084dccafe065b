"""What one round of retention deletes. Called by `projections.retention`, which has the turn.

Of each pet, versions m…n stay, and pinned ones below: n is the last, and m held at the beginning of the days that are
kept, so that the answer of any moment in them can be read. A row of members, heroes or summaries stays while it held at
a version that stays.

    pinned 3, m = 6, n = 8          1   2   3   4   5   6   7   8
    since 1 until 3                 |-------|                          goes
    since 2 until 4                     |-------|                      stays: it held at 3
    since 4 until 6                             |-------|              goes
    since 5 until 7                                 |-------|          stays: it held at 6

Every batch is a transaction of its own, and versions go before their rows: a killed round leaves rows that nobody
reads, and the next deletes them. Nothing here waits for a writer or holds one up: writers insert rows and end current
ones, and only rows that ended are deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from projections.queries import load

PETS: Final = 200
"""How many pets one look is about."""
TABLES: Final = ("versions", "snapshots", "members", "summaries", "heroes")
"""In their order: each is the name of its statement, too."""
LETTER_TABLES: Final = ("dead_letters", "dead_letter_actions")


@dataclass(slots=True)
class Trimmed:
    """What a round removed, by table. `oldest`: when the oldest version that stays, pinned ones apart, was written."""

    removed: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*TABLES, *LETTER_TABLES), 0))
    oldest: datetime | None = None
    pets: int = 0


@dataclass(frozen=True, slots=True)
class Trimmer:
    """Deletes what is older than `days` in batches of `rows`, with a pause between.

    `on_removed(table, rows)` is told of each batch. `dry`: everything is rolled back, and nobody is told.
    """

    days: int
    rows: int
    pause_s: float
    on_removed: Callable[[str, int], object] = lambda table, rows: None
    dry: bool = False

    async def trim(self, connection: Any) -> Trimmed:
        """All pets and all dead letters, once."""
        done, after = Trimmed(), ""
        while starts := await connection.fetch(load("list_history_starts"), after, self.days, PETS):
            after = starts[-1]["pet_id"]
            done.pets += len(starts)
            done.oldest = min([row["written_at"] for row in starts] + ([done.oldest] if done.oldest else []))
            await self._empty(
                connection, done, TABLES, [row["pet_id"] for row in starts], [row["version"] for row in starts]
            )
        await self._empty(connection, done, LETTER_TABLES, self.days)
        return done

    async def _empty(self, connection: Any, done: Trimmed, tables: Sequence[str], *arguments: Any) -> None:
        """Table by table, batch by batch until one is not full."""
        async with _rolled_back(connection) if self.dry else nullcontext():
            for table in tables:
                number = self.rows
                while number == self.rows:
                    number = await self._batch(connection, table, arguments)
                    done.removed[table] += number
                    if number and not self.dry:
                        self.on_removed(table, number)
                        await asyncio.sleep(self.pause_s)

    async def _batch(self, connection: Any, table: str, arguments: tuple[Any, ...]) -> int:
        async with connection.transaction():
            # A statement of its own: the next one's snapshot has every pin that was made before.
            await connection.execute(load("share_pins"))
            answer: str = await connection.execute(load(f"trim_{table}"), *arguments, self.rows)
        return int(answer.removeprefix("DELETE "))


@asynccontextmanager
async def _rolled_back(connection: Any) -> AsyncIterator[None]:
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()
