"""What the other topics hold of a pet before its purge: changelogs, the public snapshot, what goes with its retention.

Called by `app.purges.check`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import msgspec

from app.purges.finding import Finding, Purge, offsets_text
from app.purges.fold_rows import tells_of_before
from app.purges.pet_topics import PetTopics
from schemas.commands import PURGE_PET_TYPE
from schemas.dead_letters import decode_action
from schemas.errors import DeadLetter
from schemas.headers import header, record_moment, timestamp
from schemas.topics import Topic, Topics
from schemas.versions import PET_ERASED_TYPE

_WITHOUT_IMAGES: Final = (PURGE_PET_TYPE, PET_ERASED_TYPE)


@dataclass
class _Compacted:
    """The last value of each key, and how many older ones await compaction."""

    last: dict[bytes, bytes | None]
    superseded: int = 0


async def look_into_changelogs(
    topics: PetTopics, folds: Sequence[Topic], embed: Topic, purge: Purge
) -> AsyncIterator[Finding]:
    """The Faust tables, as a worker that starts anew would recover them; the fold's of each generation."""
    prefix, looked = f"{purge.pet_id}/".encode(), []
    for fold in folds:
        rows = await _compacted(topics, fold.name, prefix)
        left = [key for key, value in rows.last.items() if value is not None and tells_of_before(key, value, purge)]
        looked.append((fold, left, rows))
    remembered = await _compacted(topics, embed.name, prefix)
    known = [key for key, value in remembered.last.items() if value is not None and is_remembered(key, purge)]
    for topic, keys, found in (*looked, (embed, known, remembered)):
        if keys:
            names = ", ".join(key.decode("utf-8", "replace") for key in keys[:10])
            yield Finding(place=topic.name, verdict="left", what=f"{len(keys)} rows: {names}")
        if found.superseded:
            what = f"{found.superseded} older records of the pet, until the topic is compacted"
            yield Finding(place=topic.name, verdict="until", what=what)


def is_remembered(key: bytes, purge: Purge) -> bool:
    """Whether embed's row of this key is an image of before the purge; ids hold no ``/``, as the purge's mark does."""
    image_id = key.decode("utf-8", "replace").partition("/")[2]
    return "/" not in image_id and image_id not in purge.images


async def look_into_snapshot(topics: PetTopics, names: Topics, purge: Purge) -> AsyncIterator[Finding]:
    """The public snapshot of the pet's clusters."""
    place = names.clusters_updated.name
    found = await _compacted(topics, place, purge.pet_id.encode(), exact=True)
    value = next(iter(found.last.values()), None)
    if value is not None and not 0 <= purge.last_version < _version(value):
        yield Finding(place=place, verdict="left", what="the pet's last snapshot is of before the purge: no tombstone")
    if found.superseded:
        what = f"{found.superseded} older snapshots, until the topic is compacted (a day or more)"
        yield Finding(place=place, verdict="until", what=what)


async def look_into_retained(topics: PetTopics, names: Topics, purge: Purge) -> AsyncIterator[Finding]:
    """What no purge reaches: topics that keep everything for their time."""
    finite = (names.jobs, *names.retries, names.pet_versions, names.jobs_status, names.deadletter)
    for topic in finite:
        times = [
            record.timestamp
            async for record in topics.records(topic.name)
            if _is_before(record, purge) and header(record.headers, "ce_type") not in _WITHOUT_IMAGES
        ]
        if times:
            gone = timestamp(record_moment(max(times)) + timedelta(milliseconds=topic.retention_ms))
            what = f"{len(times)} records with image ids in the clear, the last until {gone[:19]}"
            yield Finding(place=topic.name, verdict="until", what=what)
    requeues = [
        record.offset
        async for record in topics.records(names.deadletter_actions.name)
        if _is_before(record, purge) and _names_images(record.value or b"")
    ]
    if requeues:
        what = f"{len(requeues)} requeues that name images, kept for ever, at offsets {offsets_text(requeues)}"
        yield Finding(place=names.deadletter_actions.name, verdict="left", what=what)


async def _compacted(topics: PetTopics, topic: str, prefix: bytes, *, exact: bool = False) -> _Compacted:
    found = _Compacted({})
    async for record in topics.records(topic):
        key = record.key or b""
        if key == prefix if exact else key.startswith(prefix):
            found.superseded += found.last.get(key) is not None
            found.last[key] = record.value
    return found


def _is_before(record: Any, purge: Purge) -> bool:
    return record.key == purge.pet_id.encode() and record_moment(record.timestamp) <= purge.purged_at


def _version(value: bytes) -> int:
    try:
        return msgspec.json.decode(value, type=_Versioned).version
    except (msgspec.DecodeError, UnicodeDecodeError):
        return -1


class _Versioned(msgspec.Struct):
    version: int


def _names_images(value: bytes) -> bool:
    try:
        return decode_action(value).command is not None
    except DeadLetter:
        return True


def sorted_findings(findings: Iterable[Finding]) -> Iterator[Finding]:
    """What is left first."""
    order = ("left", "unseen", "until")
    yield from sorted(findings, key=lambda each: (order.index(each.verdict), each.place))
