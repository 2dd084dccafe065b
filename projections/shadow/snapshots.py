"""The compressed answers that the live projector keeps now and then, for a shadow that was copied."""

from __future__ import annotations

import zlib
from typing import Any

from projections.answers import read_at
from projections.postgres import SNAPSHOT_CODEC, SNAPSHOT_EVERY
from projections.queries import load
from projections.shadow.schema import LIVE
from schemas.answers import encode_answer


async def write_snapshots(connection: Any, schema: str) -> int:
    """Write those that are missing, when the shadow has its indexes; how many."""
    written = 0
    async with connection.transaction():
        await connection.execute(f"SET LOCAL search_path TO {schema}, {LIVE}")
        missing = await connection.fetch(load("list_missing_snapshots"), SNAPSHOT_EVERY)
        for row in missing:
            answer = await read_at(connection, row["pet_id"], row["version"])
            assert answer is not None, "the version was listed in this transaction"
            packed = zlib.compress(encode_answer(answer))
            await connection.execute(load("insert_snapshot"), row["pet_id"], row["version"], SNAPSHOT_CODEC, packed)
            written += 1
    return written
