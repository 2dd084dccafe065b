"""Files → an empty Kafka, every record at the offset that it had. Run by `run.py` while no role runs.

Positions in Postgres, heads of pets and ids of outcomes name offsets, so a record that came out elsewhere would be
another one. Killed in between, the ends of the partitions say where to go on.

    ┌ fillers, deleted at once ┐┌ records, from the files ───────────────────┐
    0                          first_offset                     next_offset

What a topic had lost to its retention before the export is made up for by fillers: Kafka gives no other way to begin a
partition at an offset. A compacted topic's records come out closer together; nothing names their offsets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from app.backup.check import check, read_exported
from app.backup.folder import Folder
from app.backup.manifest import ExportedPartition, ExportedTopic, Manifest
from app.backup.partition_writer import PartitionWriter
from app.backup.place import Place
from app.backup.progress import Count
from app.backup.records import LogRecord
from app.backup.standing import Standing, check_begun, check_unused, look
from app.clients import create_producer
from app.prepare import create_topics
from app.progress import Display
from schemas.errors import InvalidInput, StopProcess
from schemas.topics import Topic

BATCH_BYTES: Final = 2**20
AT_ONCE: Final = 10_000
FILLER: Final = LogRecord(0, 0, 0, b"/filler", b"", ())

Held = dict[TopicPartition, tuple[ExportedTopic, ExportedPartition]]


class Restore:
    """One import of what `folder` holds into `topics`, which are made when they are not there."""

    def __init__(self, place: Place, folder: Folder, display: Display, topics: Sequence[Topic]) -> None:
        self._place = place
        self._folder = folder
        self._display = display
        self._topics = tuple(topics)

    async def run(self) -> Manifest:
        """Import. Raises StopProcess, before anything is written, when the export is damaged or Kafka is not empty."""
        manifest = await asyncio.to_thread(self._folder.needed_manifest)
        held = self._held(manifest)
        await self._check_files(manifest)
        await check_unused(self._place)
        await create_topics(self._place.settings, self._topics)
        standing = await look(self._place, self._topics)
        await check_begun(self._place, standing, lambda tp, offset: self._at(manifest, *held[tp], offset))
        await self._write(manifest, held, standing)
        await self._commit_groups(manifest)
        return manifest

    def _held(self, manifest: Manifest) -> Held:
        known = self._place.settings.kafka_partitions
        if manifest.partitions != known:
            raise StopProcess(
                f"KAFKA_PARTITIONS: is {known}, but the export has {manifest.partitions}: a pet's records must come"
                " into the partition that they were in"
            )
        # A topic that the export's release did not have begins empty.
        wanted, found = {self._place.short(topic.name) for topic in self._topics}, {t.topic for t in manifest.topics}
        if unknown := sorted(found - wanted):
            raise StopProcess(
                f"the export holds {', '.join(unknown)}, which this release does not restore: use {manifest.release}"
            )
        return {
            TopicPartition(f"{self._place.prefix}{topic.topic}", partition.partition): (topic, partition)
            for topic in manifest.topics
            for partition in topic.partitions
        }

    async def _check_files(self, manifest: Manifest) -> None:
        count = Count(self._display, "checking", manifest.records)
        problems = await asyncio.to_thread(check, self._folder, manifest, count)
        count.end()
        if problems:
            first = problems[0]
            raise StopProcess(
                f"the export is damaged in {len(problems)} places, nothing was imported: {first.path}: {first.reason}"
            )

    async def _write(self, manifest: Manifest, held: Held, standing: Standing) -> None:
        count = Count(self._display, "importing", manifest.records)
        producer = create_producer(self._place.settings, "media-import", max_batch_size=BATCH_BYTES)
        await producer.start()
        try:
            for tp, (topic, partition) in held.items():
                begin = standing.begins[tp]
                writer = PartitionWriter(producer, tp, standing.ends[tp])
                await self._fill(writer, tp, begin, _start(topic, partition))
                await self._partition(writer, manifest, topic, partition, count)
        finally:
            await producer.stop()
        count.end()

    async def _fill(self, writer: PartitionWriter, tp: TopicPartition, begin: int, start: int) -> None:
        """Let the partition begin at `start`."""
        while writer.end < start:
            await writer.write([FILLER] * min(AT_ONCE, start - writer.end))
        if begin >= start:
            return
        admin = AIOKafkaAdminClient(bootstrap_servers=self._place.brokers)
        await admin.start()
        try:
            await admin.delete_records({tp: RecordsToDelete(before_offset=start)})
        finally:
            await admin.close()

    async def _partition(
        self,
        writer: PartitionWriter,
        manifest: Manifest,
        topic: ExportedTopic,
        partition: ExportedPartition,
        count: Count,
    ) -> None:
        there = writer.end - _start(topic, partition)
        count.add(there)
        waiting: list[LogRecord] = []
        size = 0
        for record in self._records(manifest, topic, partition, there):
            waiting.append(record)
            size += len(record.value or b"")
            if size >= BATCH_BYTES or len(waiting) >= AT_ONCE:
                await writer.write(waiting)
                count.add(len(waiting))
                waiting, size = [], 0
        await writer.write(waiting)
        count.add(len(waiting))

    def _records(
        self, manifest: Manifest, topic: ExportedTopic, partition: ExportedPartition, skip: int
    ) -> Iterator[LogRecord]:
        """What the files hold, without the first `skip` records; files that are skipped whole are not read."""
        for file in partition.files:
            if skip >= file.records:
                skip -= file.records
                continue
            try:
                for number, record in enumerate(read_exported(self._folder, manifest, topic, partition, file)):
                    if number >= skip:
                        yield record
            except InvalidInput as error:
                raise StopProcess(f"{file.path}: {error}") from error
            skip = 0

    def _at(
        self, manifest: Manifest, topic: ExportedTopic, partition: ExportedPartition, offset: int
    ) -> LogRecord | None:
        start = _start(topic, partition)
        if offset < start:
            return FILLER
        return next(self._records(manifest, topic, partition, offset - start), None)

    async def _commit_groups(self, manifest: Manifest) -> None:
        """Let each group go on where it stood."""
        for group in sorted({each.group for each in manifest.groups}):
            offsets = {
                TopicPartition(f"{self._place.prefix}{each.topic}", each.partition): each.offset
                for each in manifest.groups
                if each.group == group
            }
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._place.brokers, group_id=f"{self._place.prefix}{group}", enable_auto_commit=False
            )
            await consumer.start()
            try:
                consumer.assign(list(offsets))
                await consumer.commit(offsets)
            finally:
                await consumer.stop()


def _start(topic: ExportedTopic, partition: ExportedPartition) -> int:
    """The offset of the first record in the restored partition."""
    return 0 if topic.compacted else partition.first_offset
