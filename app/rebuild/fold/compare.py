"""What differs between the tables that were built and the live fold's, pet by pet and byte by byte. A process each.

The live tables are read from their changelog and may be further on in the log than the built ones: those are folded on
to there in memory, for the comparison alone. A report is kept beside the rows, so that the next comparison looks only
at pets that have changed since.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any, Final

import msgspec
from aiokafka import TopicPartition

from agents.pet_keys import open_pet_keys
from app.rebuild.fold.job import FoldJob
from app.rebuild.fold.live_tables import pet_of, take_changelog
from app.rebuild.fold.overlay import Overlay
from projections.fold_state import FoldState
from projections.log_reading import log_consumer, read_facts
from tables.replay import LogReplay
from tables.rows import PARTITION_KEY, Head, decode_head, decode_segment, encode, head_key, is_head, row_key

Rows = MutableMapping[bytes, bytes]

REPORT: Final = "compared.json"


class TableDifference(msgspec.Struct, frozen=True):
    """A pet whose rows differ; an empty `pet_id` is the partition's own row. Versions: 0 where a side lacks the pet.

    `parts`: ``version``, ``state`` (of the head), ``rows``.
    """

    pet_id: str
    built_version: int
    live_version: int
    parts: tuple[str, ...]


class Report(msgspec.Struct, frozen=True):
    """A partition's comparison. `position`: of the changelog, up to which the live tables were read for it."""

    position: int
    pets: int
    differences: dict[str, TableDifference]

    @property
    def renumbered(self) -> list[TableDifference]:
        """Those that have another version than the live fold has sent."""
        return [each for each in self.differences.values() if "version" in each.parts]


async def take_live(job: FoldJob, _progress: object = None) -> None:
    """Read the live tables, so that the comparison has little left to read."""
    consumer, live = log_consumer(job.bootstrap_servers), job.open_live()
    try:
        await consumer.start()
        await take_changelog(consumer, TopicPartition(job.live_changelog, job.partition), live, live.offset)
    finally:
        await consumer.stop()
        live.close()


async def compare_partition(job: FoldJob, _progress: object = None) -> Report:
    """Compare the partition as the live changelog has it now; call it behind `build_partition`."""
    consumer, live, built = log_consumer(job.bootstrap_servers), job.open_live(), job.open_rows()
    try:
        await consumer.start()
        before, start = _read_report(job), live.offset
        changed = await take_changelog(consumer, TopicPartition(job.live_changelog, job.partition), live, start)
        if before is None or before.position != start:  # the live tables were read on without a comparison
            changed = _pets(live) | _pets(built)
            before = Report(start, len(changed - {b""}), {})
        ahead = await _folded_on(job, consumer, built, _reached(live, changed))
        report = Report(live.offset, before.pets, _compared(before, changed, live, ahead))
        (job.folder / REPORT).write_bytes(msgspec.json.encode(report))
        return report
    finally:
        await consumer.stop()
        live.close()
        built.close()


def _read_report(job: FoldJob) -> Report | None:
    path = job.folder / REPORT
    return msgspec.json.decode(path.read_bytes(), type=Report) if path.exists() else None


def _pets(rows: Rows) -> set[bytes]:
    return {pet_of(key) for key in rows if is_head(key)} | {b""}


def _reached(live: FoldState, pets: Iterable[bytes]) -> int:
    """Behind the last event of the log that the pets hold."""
    heads = (live.get(head_key(pet.decode())) for pet in pets)
    return max((decode_head(head).state.last_offset + 1 for head in heads if head is not None), default=0)


async def _folded_on(job: FoldJob, consumer: Any, built: FoldState, end: int) -> Overlay:
    """The built rows with the log up to `end` folded over them, in memory."""
    ahead = Overlay(built)
    async with open_pet_keys(job.bootstrap_servers, job.keys_topic, partition=job.partition) as keys:
        replay = LogReplay(job.partition, rows=ahead, keys=keys)
        log = TopicPartition(job.log, job.partition)
        async for records, _ in read_facts(consumer, log, built.offset, end, keys):
            for record in records:
                replay.apply(record.offset, record.key, record.value)
    return ahead


def _compared(before: Report, changed: set[bytes], live: Rows, built: Rows) -> dict[str, TableDifference]:
    differences = dict(before.differences)
    for name in sorted(changed):
        pet_id = name.decode()
        found = _compare_pet(pet_id, live, built) if pet_id else _compare_partition_row(live, built)
        if found is None:
            differences.pop(pet_id, None)
        else:
            differences[pet_id] = found
    return differences


def _compare_partition_row(live: Rows, built: Rows) -> TableDifference | None:
    same = live.get(PARTITION_KEY) == built.get(PARTITION_KEY)
    return None if same else TableDifference("", 0, 0, ("rows",))


def _compare_pet(pet_id: str, live: Rows, built: Rows) -> TableDifference | None:
    theirs, ours = (_head(pet_id, rows) for rows in (live, built))
    if theirs is None and ours is None:
        return None  # rows of an event whose head is not there yet
    if theirs is None or ours is None:
        version, live_version = (0 if head is None else head.state.version for head in (ours, theirs))
        return TableDifference(pet_id, version, live_version, ("version", "state", "rows"))
    parts = []
    if ours.state.version != theirs.state.version:
        parts.append("version")
    if encode(ours.state) != encode(theirs.state):
        parts.append("state")
    if any(live.get(key) != built.get(key) for key in _referred_to(pet_id, ours, built)):
        parts.append("rows")
    if not parts:
        return None
    return TableDifference(pet_id, ours.state.version, theirs.state.version, tuple(parts))


def _head(pet_id: str, rows: Rows) -> Head | None:
    raw = rows.get(head_key(pet_id))
    return None if raw is None else decode_head(raw)


def _referred_to(pet_id: str, head: Head, rows: Rows) -> list[bytes]:
    """The keys of all rows that a head's state stands on. Others are left over from deliveries, and may differ."""
    state = head.state
    events = {offset for _, offset in state.components} | {state.version_offset}
    segments = [row_key(pet_id, "d", offset) for offset in state.segments]
    images = [offset for key in segments for offset in decode_segment(rows[key]).rows] + state.tail.rows
    return [
        *(row_key(pet_id, "c", offset) for offset in sorted(events) if offset >= 0),
        *segments,
        *(row_key(pet_id, "i", offset) for offset in images),
    ]
