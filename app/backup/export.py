"""Kafka → files: what is new since the last export to the same folder. Run by `run.py`, beside a live service.

    1  cut            where groups stand, then where each partition ends
    2  files          each written in one step, named after its offsets and digest; nothing refers to it yet
    3  agreement      each fact has its key, and each destroyed key its purge; else once more from 1
    4  manifest.json  replaced in one step: names exactly the files that belong to this cut
    5  tidying        files that only the manifest before has named, or a cut that did not agree

Killed before 4, the manifest before still holds; the next export takes over files that go on where it ends.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any, Final

from aiokafka import TopicPartition

from app import VERSION
from app.backup.agreement import lacking
from app.backup.check import file_entry
from app.backup.cut import Cut, take_cut
from app.backup.folder import Folder
from app.backup.ledger import Ledger
from app.backup.manifest import ExportedFile, ExportedPartition, ExportedTopic, Manifest
from app.backup.newest import newest
from app.backup.place import Place
from app.backup.progress import Count
from app.backup.records import FileHeader, FileWriter, log_record, read_file
from app.progress import Display
from projections.log_reading import read
from schemas.errors import InvalidInput, StopProcess
from schemas.topics import Topic
from schemas.upcast import CURRENT

FILE_BYTES: Final = 32 * 2**20
"""Of records, before compression, at which a file ends; a record may go beyond it."""
CUTS: Final = 5
"""How often it is tried. Each begins behind what the one before lacked, unless that is lost."""


class Export:
    """One export of `topics` to `folder`."""

    def __init__(
        self, place: Place, folder: Folder, display: Display, topics: Sequence[Topic], *, file_bytes: int = FILE_BYTES
    ) -> None:
        self._place = place
        self._folder = folder
        self._display = display
        self._topics = tuple(topics)
        self._file_bytes = file_bytes

    async def run(self) -> Manifest:
        """Export. Raises StopProcess when the folder holds another Kafka's log, or Kafka lacks what must follow."""
        before = self._manifest_before()
        spare: list[ExportedFile] = []
        for _ in range(CUTS):
            cut = await take_cut(self._place, self._topics)
            _check_origin(before, cut, self._place.prefix)
            ledger = Ledger()
            held = await self._read(cut, before, ledger)
            missing = await asyncio.to_thread(lacking, self._folder, before, ledger, self._display)
            manifest = self._manifest(cut, held)
            if not missing:
                await asyncio.to_thread(self._folder.write_manifest, manifest)
                self._tidy(before, spare, manifest)
                return manifest
            key_id, what = missing[0]
            self._display.say("once more", key=key_id, because=what, keys=len(missing))
            spare += [file for topic, _, file in manifest.files() if topic.compacted]
        self._tidy(None, spare, before)
        raise StopProcess(f"facts and keys do not agree, nothing was exported: key {key_id!r} {what}")

    async def _read(self, cut: Cut, before: Manifest | None, ledger: Ledger) -> tuple[ExportedTopic, ...]:
        plan = {tp: self._go_on(topic, tp, cut, before) for topic in self._topics for tp in self._partitions(topic)}
        left = sum(cut.ends[tp] - next_offset for tp, (_, next_offset) in plan.items())
        count = Count(self._display, "exporting", left)
        held = []
        async with self._place.reading() as consumer:
            for topic in self._topics:
                partitions = [
                    await self._partition(consumer, topic, tp, cut, plan[tp], count, ledger)
                    for tp in self._partitions(topic)
                ]
                name = self._place.short(topic.name)
                held.append(ExportedTopic(topic=name, compacted=topic.compacted, partitions=tuple(partitions)))
        count.end()
        return tuple(held)

    def _manifest_before(self) -> Manifest | None:
        try:
            return self._folder.manifest()
        except InvalidInput as error:
            raise StopProcess(f"{error}; export to another folder, and find out what has damaged this one") from error

    def _go_on(
        self, topic: Topic, tp: TopicPartition, cut: Cut, before: Manifest | None
    ) -> tuple[list[ExportedFile], int]:
        """The files that stay, and the offset to go on from."""
        begin, end, where = cut.begins[tp], cut.ends[tp], f"{tp.topic}/{tp.partition}"
        known = before.known(self._place.short(topic.name), tp.partition) if before else None
        if known is None or topic.compacted:
            return [], begin
        if known.next_offset > end:
            raise StopProcess(
                f"{where} ends at {end}, but was exported up to {known.next_offset}: it was made anew, or has lost"
                " records; export to another folder"
            )
        if topic.retention_ms == -1:
            if begin > known.next_offset:
                raise StopProcess(
                    f"{where} is kept for ever, but begins at {begin}; exported up to {known.next_offset}"
                )
            return list(known.files), known.next_offset
        # What Kafka no longer has is of no use to a restore: it would be deleted again.
        return [file for file in known.files if file.next_offset > begin], max(begin, known.next_offset)

    async def _partition(
        self,
        consumer: Any,
        topic: Topic,
        tp: TopicPartition,
        cut: Cut,
        plan: tuple[list[ExportedFile], int],
        count: Count,
        ledger: Ledger,
    ) -> ExportedPartition:
        files, start = plan
        header = FileHeader(cluster=cut.cluster, topic=self._place.short(topic.name), partition=tp.partition)
        end = cut.ends[tp]
        if not topic.compacted:
            taken = await asyncio.to_thread(self._take_over, header, start, end, ledger)
            files, start = files + taken, taken[-1].next_offset if taken else start
            count.add(sum(file.records for file in taken))
        first = files[0].first_offset if files else start
        expected, writer, opened = start, FileWriter(header), start
        valid = await newest(consumer, tp, start, end) if topic.compacted else None
        async for records, reached in read(consumer, tp, start, end):
            for record in records:
                if record.offset != expected and not topic.compacted:
                    raise StopProcess(_hole(tp, expected, record.offset, topic))
                expected = record.offset + 1
                if valid is not None and record.offset not in valid:
                    continue
                kept = log_record(record)
                ledger.see(header.topic, header.partition, kept)
                writer.add(kept)
                if writer.size >= self._file_bytes:
                    files.append(await self._write(header, writer, opened, expected))
                    writer, opened = FileWriter(header), expected
            expected = max(expected, reached) if topic.compacted else expected
            count.add(len(records))
        if expected != end:
            raise StopProcess(_hole(tp, expected, end, topic))
        if writer.records:
            files.append(await self._write(header, writer, opened, end))
        return ExportedPartition(
            partition=tp.partition,
            first_offset=first,
            next_offset=end,
            records=sum(file.records for file in files),
            files=tuple(files),
        )

    def _take_over(self, header: FileHeader, start: int, end: int, ledger: Ledger) -> list[ExportedFile]:
        """Whole files of an export that was killed, from `start` on without a hole."""
        folder, taken = _folder_of(header), []
        names = self._folder.names(folder)
        while fits := [name for name in names if name.startswith(f"{start:020d}-")]:
            entries = [file_entry(self._folder, f"{folder}/{name}", header) for name in fits]
            whole = [entry for entry in entries if entry is not None and start < entry.next_offset <= end]
            if not whole:
                break
            taken.append(max(whole, key=lambda entry: entry.next_offset))
            start = taken[-1].next_offset
            for record in read_file(self._folder.read(taken[-1].path) or b"")[1]:
                ledger.see(header.topic, header.partition, record)
        return taken

    async def _write(self, header: FileHeader, writer: FileWriter, first: int, next_offset: int) -> ExportedFile:
        data = await asyncio.to_thread(writer.finish)
        digest = hashlib.sha256(data).hexdigest()
        # With the digest, since a file that a manifest names is never written again with other bytes.
        path = f"{_folder_of(header)}/{first:020d}-{next_offset:020d}-{digest[:8]}.gz"
        await asyncio.to_thread(self._folder.write, path, data)
        return ExportedFile(
            path=path,
            first_offset=first,
            next_offset=next_offset,
            records=writer.records,
            bytes=len(data),
            sha256=digest,
        )

    def _manifest(self, cut: Cut, topics: tuple[ExportedTopic, ...]) -> Manifest:
        return Manifest(
            release=VERSION,
            taken_at=cut.taken_at,
            cluster=cut.cluster,
            topic_prefix=self._place.prefix,
            partitions=self._place.settings.kafka_partitions,
            fact_versions={kind.__name__: number for kind, number in CURRENT.items()},
            groups=cut.groups,
            topics=topics,
        )

    def _tidy(self, before: Manifest | None, spare: Sequence[ExportedFile], now: Manifest | None) -> None:
        named = {file.path for _, _, file in (now.files() if now else ())}
        once = [*spare, *(file for _, _, file in (before.files() if before else ()))]
        gone = sorted({file.path for file in once} - named)
        for path in gone:
            self._folder.remove(path)
        if gone:
            self._display.say("removed", files=len(gone), because="nothing needs them")

    def _partitions(self, topic: Topic) -> list[TopicPartition]:
        return self._place.partitions(topic)


def _folder_of(header: FileHeader) -> str:
    return f"{header.topic}/{header.partition}"


def _check_origin(before: Manifest | None, cut: Cut, prefix: str) -> None:
    if before is not None and (before.cluster, before.topic_prefix) != (cut.cluster, prefix):
        raise StopProcess(
            f"the folder holds an export of Kafka {before.cluster}, prefix {before.topic_prefix!r}; this is Kafka"
            f" {cut.cluster}, prefix {prefix!r}: export to another folder"
        )


def _hole(tp: TopicPartition, expected: int, found: int, topic: Topic) -> str:
    where = f"{tp.topic}/{tp.partition}: offset {expected} was to come, {found} came"
    if topic.retention_ms == -1:
        return f"{where}; it must have no holes: is it compacted, or written in transactions?"
    return f"{where}; Kafka has deleted what lay between while it was exported: run it again"
