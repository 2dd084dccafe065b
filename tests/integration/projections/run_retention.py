"""One round of retention in a process of its own, to be killed. Run by test_retention: database, days, batch, pause."""

from __future__ import annotations

import asyncio
import sys

from projections.pool import create_pool
from projections.retention import Retention


async def main(database_url: str, days: str, batch_rows: str, pause_s: str) -> None:
    async with create_pool(database_url, size=2, statement_timeout_ms=20_000, ssl_mode="disable") as pool:
        await Retention(pool=pool, days=int(days), batch_rows=int(batch_rows), pause_s=float(pause_s)).trim()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
