"""The log goes to files and into an empty Kafka, every record at its offset; whatever is killed in between."""

from __future__ import annotations

import io
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from app.backup import standing
from app.backup.export import Export
from app.backup.folder import Folder
from app.backup.manifest import Manifest
from app.backup.partition_writer import PartitionWriter
from app.backup.place import Place
from app.backup.restore import Restore
from app.backup.run import run
from app.local.kafka import KafkaServer
from app.prepare import create_topics
from app.progress import Display
from app.settings import Settings
from projections.offsets import LogOffsets
from schemas.errors import StopProcess
from schemas.topics import MAX_MESSAGE_BYTES, Topic, Topics
from tests.conftest import TEST_PARTITIONS
from tests.e2e.kafka_log import read_topic

BEGUN_MS = int(time.time() * 1000) - 3_600_000
"""An hour ago: the broker's retention leaves it."""
SMALL = 2_000
"""Bytes of a file's records, so that a few records make several files."""
Row = tuple[int, int, int, bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]


class Killed(BaseException):
    """Stands for SIGKILL: nothing handles it."""


@dataclass
class Deployment:
    """Topics of one prefix, and what is done with them."""

    kafka: KafkaServer
    prefix: str
    partitions: int = TEST_PARTITIONS
    out: io.StringIO = field(default_factory=io.StringIO)

    @property
    def topics(self) -> Topics:
        return Topics(self.prefix)

    @property
    def place(self) -> Place:
        return Place(
            Settings(
                kafka_bootstrap_servers=self.kafka.bootstrap_servers,
                kafka_topic_prefix=self.prefix,
                kafka_partitions=self.partitions,
            )
        )

    async def export(self, folder: Folder, topics: tuple[Topic, ...] | None = None) -> Manifest:
        display = Display(self.out, as_json=True)
        return await Export(self.place, folder, display, topics or self.topics.restored(), file_bytes=SMALL).run()

    async def restore(self, folder: Folder, topics: tuple[Topic, ...] | None = None) -> Manifest:
        display = Display(self.out, as_json=True)
        return await Restore(self.place, folder, display, topics or self.topics.restored()).run()

    async def rows(self, topic: Topic) -> list[Row]:
        found = await read_topic(self.kafka.bootstrap_servers, topic.name)
        return [(r.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in found]

    async def all_rows(self) -> dict[str, list[Row]]:
        return {topic.name.removeprefix(self.prefix): await self.rows(topic) for topic in self.topics.restored()}

    async def ends(self, topic: Topic) -> dict[int, tuple[int, int]]:
        """Partition → its first and next offset."""
        partitions = self.place.partitions(topic)
        async with LogOffsets(self.kafka.bootstrap_servers) as broker:
            begins, ends = await broker.begins(partitions), await broker.ends(partitions)
        return {tp.partition: (begins[tp], ends[tp]) for tp in partitions}

    async def send(self, topic: Topic, partition: int, number: int, first: int = 0) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.kafka.bootstrap_servers, max_request_size=MAX_MESSAGE_BYTES)
        await producer.start()
        try:
            for n in range(first, first + number):
                await producer.send_and_wait(
                    topic.name,
                    f"{topic.name[-8:]} {n} ".encode() * 20,
                    key=f"pet-{n}".encode(),
                    partition=partition,
                    timestamp_ms=BEGUN_MS + n,
                    headers=[("ce_id", str(n).encode()), ("empty", b""), ("ce_id", b"twice")],
                )
        finally:
            await producer.stop()

    async def delete_before(self, topic: Topic, partition: int, offset: int) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka.bootstrap_servers)
        await admin.start()
        await admin.delete_records({TopicPartition(topic.name, partition): RecordsToDelete(before_offset=offset)})
        await admin.close()

    async def commit(self, group: str, topic: Topic, partition: int, offset: int) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.kafka.bootstrap_servers, group_id=f"{self.prefix}{group}", enable_auto_commit=False
        )
        await consumer.start()
        consumer.assign([TopicPartition(topic.name, partition)])
        await consumer.commit({TopicPartition(topic.name, partition): offset})
        await consumer.stop()

    async def committed(self, group: str, topic: Topic) -> dict[int, int]:
        async with LogOffsets(self.kafka.bootstrap_servers) as broker:
            found = await broker.committed(f"{self.prefix}{group}", self.place.partitions(topic))
        return {tp.partition: offset for tp, offset in found.items()}


@pytest.fixture(autouse=True)
def _no_request_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is killed here runs in this process, so nothing of it comes later."""
    monkeypatch.setattr(standing, "SETTLE_SECONDS", 0.0)


@pytest.fixture
async def live(kafka: KafkaServer, topics: Topics) -> Deployment:
    """A log with some records, one partition empty, one of `media.jobs` trimmed."""
    made = Deployment(kafka, topics.prefix)
    for partition in (0, 2):
        await made.send(topics.pet_log, partition, 12)
    await made.send(topics.jobs, 1, 9)
    await made.delete_before(topics.jobs, 1, 5)
    await made.send(topics.jobs, 2, 4)
    await made.delete_before(topics.jobs, 2, 4)
    await made.send(topics.deadletter_actions, 0, 2)
    return made


@pytest.fixture
async def other(kafka: KafkaServer) -> AsyncIterator[Deployment]:
    """Where an import goes: nothing is there yet."""
    made = Deployment(kafka, f"r{uuid.uuid4().hex[:12]}.")
    yield made
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    await admin.delete_topics([name for name in await admin.list_topics() if name.startswith(made.prefix)])
    await admin.close()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "export"))


def files_of(folder: Folder, manifest: Manifest) -> dict[str, bytes | None]:
    return {file.path: folder.read(file.path) for _, _, file in manifest.files()}


def content(manifest: Manifest) -> list[tuple[str, int, int, int, int]]:
    """What it holds, however it is cut into files."""
    return [
        (topic.topic, each.partition, each.first_offset, each.next_offset, each.records)
        for topic in manifest.topics
        for each in topic.partitions
    ]


async def test_every_record_comes_out_at_its_offset_byte_for_byte(
    live: Deployment, other: Deployment, folder: Folder
) -> None:
    await live.commit("media-embed", live.topics.jobs, 1, 7)
    producer = AIOKafkaProducer(bootstrap_servers=live.kafka.bootstrap_servers, max_request_size=MAX_MESSAGE_BYTES)
    await producer.start()
    large = [bytes([n]) * (MAX_MESSAGE_BYTES - 500) for n in range(2)]
    for key, value in ((None, large[0]), (b"purged", None), (b"", b""), (b"large", large[1])):
        await producer.send_and_wait(live.topics.pet_log.name, value, key=key, partition=1)
    await producer.stop()

    manifest = await live.export(folder)
    await other.restore(folder)

    assert await other.all_rows() == await live.all_rows()
    for topic, same in zip(other.topics.restored(), live.topics.restored(), strict=True):
        assert await other.ends(topic) == await live.ends(same)
    assert await other.ends(other.topics.jobs) == {0: (0, 0), 1: (5, 9), 2: (4, 4)}
    assert (await other.committed("media-embed", other.topics.jobs))[1] == 7
    assert manifest.records == sum(map(len, (await live.all_rows()).values()))
    await other.restore(folder)
    assert await other.all_rows() == await live.all_rows(), "a repeat changes nothing"


async def test_a_second_export_adds_only_what_is_new(live: Deployment, other: Deployment, folder: Folder) -> None:
    first = await live.export(folder)
    before = files_of(folder, first)
    await live.send(live.topics.pet_log, 0, 3, first=12)
    await live.send(live.topics.pet_log, 1, 1)
    second = await live.export(folder)
    after = files_of(folder, second)
    assert second.records == first.records + 4
    assert {path: after.get(path) for path in before} == before, "no file was written again"
    assert len(after) > len(before)
    await live.export(folder)
    assert files_of(folder, folder.needed_manifest()) == after, "nothing new, nothing written"
    await other.restore(folder)
    assert await other.all_rows() == await live.all_rows()


async def test_what_retention_has_deleted_leaves_the_export(
    live: Deployment, other: Deployment, folder: Folder
) -> None:
    await live.send(live.topics.jobs, 0, 20)
    first = await live.export(folder)
    await live.send(live.topics.jobs, 0, 20, first=20)
    await live.delete_before(live.topics.jobs, 0, 30)
    await live.delete_before(live.topics.jobs, 1, 9)
    second = await live.export(folder)
    kept = {file.path for _, _, file in second.files()}
    gone = {file.path for _, _, file in first.files() if file.path not in kept}
    assert gone
    assert {folder.read(path) for path in gone} == {None}
    assert [each for each in content(second) if each[0] == "media.jobs"] == [
        ("media.jobs", 0, 30, 40, 10),
        ("media.jobs", 1, 9, 9, 0),
        ("media.jobs", 2, 4, 4, 0),
    ]
    await other.restore(folder)
    assert await other.all_rows() == await live.all_rows()


async def test_records_that_come_while_it_runs_are_left_to_the_next(
    live: Deployment, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await live.all_rows()
    write = Export._write

    async def written(self: Export, *arguments: Any) -> Any:
        await live.send(live.topics.pet_log, 2, 1, first=next(numbers))
        return await write(self, *arguments)

    numbers = itertools.count(12)
    with monkeypatch.context() as patched:
        patched.setattr(Export, "_write", written)
        assert (await live.export(folder)).records == sum(map(len, before.values()))
    assert (await live.export(folder)).records == sum(map(len, (await live.all_rows()).values()))


async def test_killed_between_any_two_writes_an_export_goes_on(
    live: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = await live.export(Folder(str(tmp_path / "whole")))
    folder, original, runs = Folder(str(tmp_path / "killed")), Folder.write, 0

    while folder.manifest() is None:
        written: list[str] = []

        def write(self: Folder, path: str, data: bytes, written: list[str] = written) -> None:
            if written:
                raise Killed
            written.append(path)
            original(self, path, data)

        with monkeypatch.context() as patched, suppress(Killed):
            patched.setattr(Folder, "write", write)
            await live.export(folder)
        runs += 1
    assert runs == len(list(whole.files())) + 1, "each run has written one more file, the last one the manifest"
    assert content(folder.needed_manifest()) == content(whole)
    assert files_of(folder, folder.needed_manifest()) == files_of(Folder(str(tmp_path / "whole")), whole)


async def test_a_file_that_was_begun_is_not_taken_for_one(live: Deployment, folder: Folder) -> None:
    whole = await live.export(folder)
    for _, _, file in whole.files():
        data = folder.read(file.path)
        assert data is not None
        folder.write(file.path, data[:-5])
    folder.remove("manifest.json")
    again = await live.export(folder)
    assert content(again) == content(whole)
    assert await run(live.place.settings, "check", folder._root, file_bytes=SMALL, as_json=True, out=live.out) == 0


async def test_killed_between_any_two_batches_an_import_goes_on_without_a_repeat(
    live: Deployment, other: Deployment, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.backup.restore.AT_ONCE", 6)
    await live.export(folder)
    original, kills = PartitionWriter._send, 0

    async def send(self: PartitionWriter, batch: Any) -> None:
        await original(self, batch)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(PartitionWriter, "_send", send)
        while True:
            try:
                await other.restore(folder)
                break
            except Killed:
                kills += 1
    assert kills > 5
    assert await other.all_rows() == await live.all_rows()
    assert await other.ends(other.topics.jobs) == await live.ends(live.topics.jobs)


async def test_a_damaged_export_is_refused_before_anything_is_written(
    live: Deployment, other: Deployment, folder: Folder
) -> None:
    manifest = await live.export(folder)
    *_, (_, _, last) = manifest.files()
    data = bytearray(folder.read(last.path) or b"")
    data[-20] ^= 1
    folder.write(last.path, bytes(data))
    with pytest.raises(StopProcess, match=rf"{last.path}: sha256"):
        await other.restore(folder)
    admin = AIOKafkaAdminClient(bootstrap_servers=other.kafka.bootstrap_servers)
    await admin.start()
    assert [name for name in await admin.list_topics() if name.startswith(other.prefix)] == []
    await admin.close()
    live.out.truncate(0)
    assert await run(live.place.settings, "check", folder._root, file_bytes=SMALL, as_json=True, out=live.out) == 1
    told = [json.loads(line) for line in live.out.getvalue().replace("\0", "").splitlines()]
    assert [each["file"] for each in told if each["step"] == "wrong"] == [last.path]


async def test_a_kafka_that_is_not_empty_is_refused(live: Deployment, other: Deployment, folder: Folder) -> None:
    await live.export(folder)
    await create_topics(other.place.settings, other.topics.all())
    await other.send(other.topics.pet_log, 2, 1, first=99)
    with pytest.raises(StopProcess, match=r"pet-log/2 is not empty.*offset 0"):
        await other.restore(folder)
    await other.send(other.topics.pet_versions, 0, 1)
    with pytest.raises(StopProcess, match=r"pet-versions: not empty"):
        await other.restore(folder)
    assert (await other.ends(other.topics.pet_log))[0] == (0, 0), "nothing was written"


async def test_more_than_was_exported_is_refused(live: Deployment, other: Deployment, folder: Folder) -> None:
    await live.export(folder)
    await other.restore(folder)
    await other.send(other.topics.pet_log, 0, 1, first=12)
    with pytest.raises(StopProcess, match=r"no beginning of this export"):
        await other.restore(folder)


async def test_another_writer_is_noticed(
    live: Deployment, other: Deployment, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live.export(folder)
    original = PartitionWriter._send

    async def send(self: PartitionWriter, batch: Any) -> None:
        await other.send(other.topics.pet_log, self._tp.partition, 1)
        await original(self, batch)

    monkeypatch.setattr(PartitionWriter, "_send", send)
    with pytest.raises(StopProcess, match="somebody else writes"):
        await other.restore(folder, other.topics.restored())


async def test_another_partition_count_is_refused(live: Deployment, other: Deployment, folder: Folder) -> None:
    await live.export(folder)
    other.partitions = 4
    with pytest.raises(StopProcess, match=r"KAFKA_PARTITIONS: is 4, but the export has 3"):
        await other.restore(folder)
    live.partitions = 4
    with pytest.raises(StopProcess, match=r"KAFKA_PARTITIONS: is 4, but .* has 3"):
        await live.export(folder)


async def test_a_topic_that_this_release_does_not_restore_is_refused_and_one_that_the_other_lacked_is_empty(
    live: Deployment, other: Deployment, folder: Folder
) -> None:
    await live.export(folder)
    with pytest.raises(StopProcess, match=r"media.deadletter.actions, .* does not restore"):
        await other.restore(folder, other.topics.restored()[:-1])
    folder.remove("manifest.json")
    await live.export(folder, live.topics.restored()[:-1])
    await other.restore(folder)
    assert await other.all_rows() == await live.all_rows() | {"media.deadletter.actions": []}


@pytest.mark.parametrize("transactions", [1, 2])
async def test_a_log_with_holes_is_not_exported(live: Deployment, folder: Folder, transactions: int) -> None:
    """A transaction ends with a marker, which takes an offset and is no record."""
    producer = AIOKafkaProducer(bootstrap_servers=live.kafka.bootstrap_servers, transactional_id=uuid.uuid4().hex)
    await producer.start()
    for n in range(transactions):
        async with producer.transaction():
            await producer.send(live.topics.pet_log.name, bytes([n]), partition=1)
    await producer.stop()
    with pytest.raises(StopProcess, match=r"pet-log/1: offset 1 was to come, 2 came; it must have no holes"):
        await live.export(folder)
    assert folder.manifest() is None


async def test_a_compacted_topic_comes_out_with_the_last_record_of_each_key(
    live: Deployment, other: Deployment, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=live.kafka.bootstrap_servers, transactional_id=uuid.uuid4().hex)
    await producer.start()
    for n in range(6):
        async with producer.transaction():
            await producer.send(live.topics.clusters_updated.name, bytes([n]) * 100, key=b"k", partition=1)
        if n in (2, 5):
            await live.send(live.topics.clusters_updated, 1, 1)
        if n == 2:
            await live.export(folder, (live.topics.clusters_updated,))
    await producer.stop()
    last = {row[3]: row[4] for row in await live.rows(live.topics.clusters_updated)}
    assert len(last) == 2
    monkeypatch.setattr(Topics, "folded_again", lambda _self: ())
    before = {file.path for _, _, file in folder.needed_manifest().files()}
    await live.export(folder, (live.topics.clusters_updated,))
    after = {file.path for _, _, file in folder.needed_manifest().files()}
    assert {folder.read(path) for path in before - after} == {None}, "what was exported before is gone with its keys"
    said = await run(live.place.settings, "check", folder._root, file_bytes=SMALL, as_json=True, out=live.out)
    assert said == 0, live.out.getvalue()
    for _ in range(2):
        await other.restore(folder, (other.topics.clusters_updated,))
        rows = await other.rows(other.topics.clusters_updated)
        assert [(row[0], row[1], row[4]) for row in rows] == [(1, n, value) for n, value in enumerate(last.values())]


async def test_an_export_of_another_kafka_or_of_topics_made_anew_is_not_gone_on_with(
    live: Deployment, other: Deployment, folder: Folder
) -> None:
    await live.export(folder)
    await create_topics(other.place.settings, other.topics.all())
    with pytest.raises(StopProcess, match="prefix"):
        await other.export(folder)
    admin = AIOKafkaAdminClient(bootstrap_servers=live.kafka.bootstrap_servers)
    await admin.start()
    await admin.delete_topics([live.topics.pet_log.name])
    await admin.close()
    await create_topics(live.place.settings, (live.topics.pet_log,))
    with pytest.raises(StopProcess, match=r"ends at 0, but was exported up to 12"):
        await live.export(folder)
