"""The files of an export: they hold records byte for byte, and say when they are no longer what was written."""

from __future__ import annotations

import gzip
import hashlib
import io
import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backup.check import check, read_exported
from app.backup.folder import Folder
from app.backup.manifest import (
    NAME,
    ExportedFile,
    ExportedPartition,
    ExportedTopic,
    Manifest,
    decode_manifest,
    encode_manifest,
)
from app.backup.progress import Count
from app.backup.records import FileHeader, FileWriter, LogRecord, read_file
from app.progress import Display
from schemas.codec import encode_fact
from schemas.errors import InvalidInput, StopProcess
from schemas.facts import Fact, ImagesEmbedded, JobContext, PetPurged
from schemas.pet_keys import Destroyed, PetKey, encode_key
from schemas.topics import Topics

HEADER = FileHeader(cluster="kafka-1", topic="media.pet-log", partition=0)
HEADERS = st.lists(st.tuples(st.text(max_size=8), st.none() | st.binary(max_size=8)), max_size=3).map(tuple)
RECORDS = st.lists(
    st.builds(
        LogRecord,
        offset=st.integers(0, 2**63 - 1),
        timestamp=st.integers(-1, 2**63 - 1),
        timestamp_type=st.sampled_from([0, 1]),
        key=st.none() | st.binary(max_size=16),
        value=st.none() | st.binary(max_size=64),
        headers=HEADERS,
    ),
    max_size=8,
)


def file_of(records: list[LogRecord], header: FileHeader = HEADER) -> bytes:
    writer = FileWriter(header)
    for record in records:
        writer.add(record)
    return writer.finish()


def numbered(first: int, number: int) -> list[LogRecord]:
    return [LogRecord(first + n, 1_000 + n, 0, b"rex", bytes([n]) * 20, (("ce_id", b"1"),)) for n in range(number)]


@given(RECORDS)
def test_records_come_back_byte_for_byte(records: list[LogRecord]) -> None:
    header, found = read_file(file_of(records))
    assert (header, list(found)) == (HEADER, records)


def test_the_same_records_make_the_same_bytes() -> None:
    assert file_of(numbered(0, 5)) == file_of(numbered(0, 5))


@pytest.mark.parametrize("kept", [0, 1, 10, 60, -1])
def test_a_file_that_was_cut_off_is_noticed(kept: int) -> None:
    data = file_of(numbered(0, 5))
    with pytest.raises(InvalidInput):
        list(read_file(data[:kept])[1])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\0\x01",
        b"\0\0",
        b"\0\0\0\x01\xc0",
        msgspec.msgpack.encode({"format": "other"}),
    ],
)
def test_what_is_no_export_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidInput):
        list(read_file(gzip.compress(content))[1])


def test_a_newer_release_s_file_is_refused() -> None:
    newer = msgspec.structs.replace(HEADER, version=2)
    with pytest.raises(InvalidInput, match="version 2"):
        read_file(file_of([], newer))


def exported(folder: Folder, compacted: bool = False) -> Manifest:
    """Two files of a partition, written to the folder."""
    files = []
    for first in (3, 8):
        data = file_of(numbered(first, 5))
        path = f"media.pet-log/0/{first}.gz"
        folder.write(path, data)
        files.append(
            ExportedFile(
                path=path,
                first_offset=first,
                next_offset=first + 5,
                records=5,
                bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
            )
        )
    partition = ExportedPartition(partition=0, first_offset=3, next_offset=13, records=10, files=tuple(files))
    return Manifest(
        release="0",
        taken_at="2026-11-21T00:00:00.000000+00:00",
        cluster="kafka-1",
        topic_prefix="",
        partitions=1,
        fact_versions={},
        groups=(),
        topics=(ExportedTopic(topic="media.pet-log", compacted=compacted, partitions=(partition,)),),
    )


def problems(folder: Folder, manifest: Manifest) -> list[tuple[str, str]]:
    count = Count(Display(io.StringIO(), as_json=True), "checking", manifest.records)
    return [(each.path, each.reason) for each in check(folder, manifest, count)]


@pytest.fixture(params=["a folder", "fsspec"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """Local files, and a file system that only fsspec knows."""
    return Folder(str(tmp_path / "export") if request.param == "a folder" else f"memory://{uuid.uuid4().hex}")


def test_a_whole_export_has_no_problem(folder: Folder) -> None:
    assert problems(folder, exported(folder)) == []
    assert folder.names("media.pet-log/0") == ["3.gz", "8.gz"]
    assert folder.names("media.pet-log/1") == []


def _flip(folder: Folder, path: str) -> None:
    data = bytearray(folder.read(path) or b"")
    data[len(data) // 2] ^= 1
    folder.write(path, bytes(data))


def _cut(folder: Folder, path: str) -> None:
    folder.write(path, (folder.read(path) or b"")[:-1])


def _exchange(folder: Folder, path: str) -> None:
    folder.write(path, file_of(numbered(8, 5), msgspec.structs.replace(HEADER, partition=1)))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [(_flip, "sha256"), (_cut, "bytes"), (Folder.remove, "not there"), (_exchange, r"bytes|sha256")],
)
def test_a_damaged_file_is_named_with_the_reason(
    folder: Folder, damage: Callable[[Folder, str], None], reason: str
) -> None:
    manifest = exported(folder)
    damage(folder, "media.pet-log/0/8.gz")
    ((path, told),) = problems(folder, manifest)
    assert path == "media.pet-log/0/8.gz"
    assert any(word in told for word in reason.split("|")), told


def _resealed(folder: Folder, manifest: Manifest, records: list[LogRecord], header: FileHeader = HEADER) -> Manifest:
    """The second file replaced by another with the right checksum."""
    topic = manifest.topics[0]
    partition = topic.partitions[0]
    data = file_of(records, header)
    folder.write(partition.files[1].path, data)
    sealed = msgspec.structs.replace(partition.files[1], bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    partition = msgspec.structs.replace(partition, files=(partition.files[0], sealed))
    return msgspec.structs.replace(manifest, topics=(msgspec.structs.replace(topic, partitions=(partition,)),))


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([*numbered(8, 2), *numbered(11, 3)], "10 was to come, 11 came"),
        (numbered(9, 5), "8 was to come"),
        (numbered(8, 4), "holds 4, not 5"),
        ([*numbered(8, 4), *numbered(8, 1)], "12 was to come, 8 came"),
    ],
)
def test_offsets_and_numbers_must_hold_also_where_the_checksum_does(
    folder: Folder, records: list[LogRecord], reason: str
) -> None:
    ((_, told),) = problems(folder, _resealed(folder, exported(folder), records))
    assert reason in told


def test_a_file_of_another_partition_or_kafka_is_noticed(folder: Folder) -> None:
    for wrong in ({"partition": 1}, {"topic": "media.jobs"}, {"cluster": "kafka-2"}):
        manifest = _resealed(folder, exported(folder), numbered(8, 5), msgspec.structs.replace(HEADER, **wrong))
        ((_, told),) = problems(folder, manifest)
        assert told.startswith("header")


def test_files_that_do_not_follow_each_other_are_noticed(folder: Folder) -> None:
    manifest = exported(folder)
    topic = manifest.topics[0]
    (partition,) = topic.partitions
    lacking = msgspec.structs.replace(partition, files=partition.files[1:])
    told = problems(
        folder, msgspec.structs.replace(manifest, topics=(msgspec.structs.replace(topic, partitions=(lacking,)),))
    )
    assert told == [("media.pet-log/0", "offsets: media.pet-log/0/8.gz begins at 8, not at 3")]


def test_a_compacted_topic_may_have_holes_but_not_go_back(folder: Folder) -> None:
    holed = _resealed(folder, exported(folder, compacted=True), [*numbered(8, 2), *numbered(11, 3)])
    topic = holed.topics[0]
    assert problems(folder, holed) == []
    back = _resealed(folder, holed, [*numbered(8, 4), *numbered(8, 1)])
    with pytest.raises(InvalidInput, match="8 came"):
        list(read_exported(folder, back, topic, back.topics[0].partitions[0], back.topics[0].partitions[0].files[1]))


def test_a_manifest_comes_back_and_says_when_it_was_changed(folder: Folder) -> None:
    manifest = exported(folder)
    assert folder.manifest() is None
    with pytest.raises(StopProcess, match="no export has ended"):
        folder.needed_manifest()
    folder.write_manifest(manifest)
    assert folder.needed_manifest() == decode_manifest(encode_manifest(manifest)) == manifest
    for damaged in (
        encode_manifest(manifest).replace(b'"next_offset": 13', b'"next_offset": 12'),
        encode_manifest(manifest)[:-9],
        b"\xff",
        encode_manifest(msgspec.structs.replace(manifest, version=2)),
    ):
        folder.write(NAME, damaged)
        with pytest.raises(StopProcess, match=NAME):
            folder.needed_manifest()


OPEN = PetKey(key_id="k1", pet_id="rex", secret=bytes(32))
GONE = PetKey(key_id="k1", pet_id="rex", destroyed=Destroyed(purge_id="p1", last_version=3, next_cluster=1))
EMBEDDED = ImagesEmbedded(job=JobContext(job_id="j"), model="m", dimension=2)
PURGED = PetPurged(purge_id="p1", accepted_until="2026-11-21T00:00:00Z", keys=("k1",))


def _of_values(folder: Folder, topic: str, values: list[bytes]) -> ExportedTopic:
    records = [LogRecord(n, 1_000, 0, b"rex", value, ()) for n, value in enumerate(values)]
    data, path, size = file_of(records, msgspec.structs.replace(HEADER, topic=topic)), f"{topic}/0/all.gz", len(records)
    folder.write(path, data)
    digest = hashlib.sha256(data).hexdigest()
    file = ExportedFile(path=path, first_offset=0, next_offset=size, records=size, bytes=len(data), sha256=digest)
    partition = ExportedPartition(partition=0, first_offset=0, next_offset=size, records=size, files=(file,))
    return ExportedTopic(topic=topic, compacted=topic == "media.pet-keys", partitions=(partition,))


@pytest.mark.parametrize(
    ("facts", "keys", "lacks"),
    [
        ([(EMBEDDED, "rex")], [OPEN], None),
        ([(EMBEDDED, "rex"), (PURGED, "rex")], [OPEN, GONE], None),
        ([(EMBEDDED, "rex"), (PURGED, "rex")], [OPEN], None),
        ([(EMBEDDED, "rex")], [], "key 'k1' is not there, but media.pet-log/0/0 names it"),
        ([(PURGED, "rex")], [], "key 'k1' is not there, but media.pet-log/0/0 names it"),
        ([(EMBEDDED, "rex")], [GONE], "key 'k1' was destroyed by purge 'p1', whose PetPurged is not in media.pet-log"),
        ([(PURGED, "bella")], [GONE], "key 'k1' was destroyed by purge 'p1', whose PetPurged is not in media.pet-log"),
    ],
)
def test_facts_and_keys_must_belong_together(
    folder: Folder, facts: list[tuple[Fact, str]], keys: list[PetKey], lacks: str | None
) -> None:
    log = [encode_fact(fact, event_id="e", time="", pet_id=pet, key=OPEN) for fact, pet in facts]
    topics = (
        _of_values(folder, "media.pet-keys", [encode_key(key) for key in keys]),
        _of_values(folder, "media.pet-log", [*log, b"no fact", b"\xc1PetPurged"]),
    )
    manifest = msgspec.structs.replace(exported(folder), topics=topics)
    assert problems(folder, manifest) == ([] if lacks is None else [("media.pet-keys", lacks)])


def test_a_place_that_cannot_be_opened_is_told_without_its_url(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StopProcess) as refused:
        Folder(str(tmp_path / "file")).write("a/b.gz", b"x")
    assert str(tmp_path) not in str(refused.value)
    with pytest.raises(StopProcess) as unknown:
        Folder("nothing://user:secret@host/place")
    assert "secret" not in str(unknown.value)


def test_every_topic_is_exported_or_follows_from_the_log() -> None:
    topics = Topics()
    restored, again = topics.restored(), topics.folded_again()
    assert sorted(topic.name for topic in (*restored, *again)) == sorted(topic.name for topic in topics.all())
