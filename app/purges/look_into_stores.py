"""What Postgres and Redis hold of a pet before its purge. Called by `app.purges.check`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Final

from app.purges.finding import Finding, Purge
from app.settings import Settings
from bridges.translate import identify_entry
from projections.cache import AnswerCache, stored_position
from projections.leftovers import count_leftovers
from projections.purges import PurgeRecords

PAGE: Final = 1000


async def projected(pool: Any, purge: Purge) -> Purge | None:
    """The purge with the version that Postgres knows; None when the projector has not carried it out yet."""
    records = PurgeRecords(pool)
    row, position = await records.find(purge.pet_id, purge.purge_id), await records.position(purge.pet_id)
    if row is None or row.status == "pending" or position is None:
        return None
    return replace(purge, last_version=max(purge.last_version, position[1]))


async def look_into_postgres(pool: Any, purge: Purge) -> AsyncIterator[Finding]:
    """Every table of every schema that names pets."""
    async with pool.acquire() as connection:
        found = await count_leftovers(
            connection, purge.pet_id, purge.last_version, purge.accepted_until, purge.purged_at
        )
    for table, rows in found.items():
        if rows:
            yield Finding(place=f"Postgres {table}", verdict="left", what=f"{rows} rows")


async def look_into_redis(redis: Any, settings: Settings, purge: Purge) -> AsyncIterator[Finding]:
    """The cached answer, whatever else has the pet's id at its key's end, and the two streams."""
    cache = AnswerCache(redis, namespace=settings.namespace, ttl_seconds=settings.cluster_ttl_seconds)
    raw, key = await redis.get(cache.key(purge.pet_id)), cache.key(purge.pet_id)
    position, answer = stored_position(raw or b""), await cache.get(purge.pet_id)
    if raw is not None and position is None:
        yield Finding(place=f"Redis {key}", verdict="left", what="a value of another service")
    elif answer is not None and position is not None and position[1] <= purge.last_version:
        yield Finding(place=f"Redis {key}", verdict="left", what=f"the cached answer of version {position[1]}")
    async for name in redis.scan_iter(match=f"*:{purge.pet_id}", count=PAGE):
        other = name.decode("utf-8", "replace")
        # An id may hold colons: the answer of another pet whose id ends like this one's is not of this one.
        if other != key and not other.startswith(cache.key("")):
            yield Finding(place=f"Redis {other}", verdict="left", what="a key of the pet")
    for stream in (settings.cluster_stream_key, settings.cluster_dead_letter_stream):
        if entries := await _entries_of(redis, stream, purge):
            what = f"{entries} entries, until the stream is trimmed"
            yield Finding(place=f"Redis {stream}", verdict="until", what=what)


async def _entries_of(redis: Any, stream: str, purge: Purge) -> int:
    """Entries about the pet that were added before the purge."""
    last, found = f"{int(purge.purged_at.timestamp() * 1000)}", 0
    start = "-"
    while entries := await redis.xrange(stream, min=start, max=last, count=PAGE):
        found += sum(identify_entry(fields)[0] == purge.pet_id for _, fields in entries)
        start = f"({entries[-1][0].decode()}"
    return found
