"""Whether the files of an export are what its manifest says. Used by `log check`, and by export and import."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from app.backup.folder import Folder
from app.backup.ledger import KEYS, Ledger
from app.backup.manifest import ExportedFile, ExportedPartition, ExportedTopic, Manifest
from app.backup.progress import Count
from app.backup.records import FileHeader, LogRecord, read_file
from schemas.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a file, or with a partition's files together."""

    path: str
    reason: str


def check(folder: Folder, manifest: Manifest, count: Count) -> list[Problem]:
    """Read every file; all that is wrong, the first reason for each. Last, when all files are whole, what facts and
    keys lack of each other.
    """
    problems, ledger = [], Ledger()
    for topic in manifest.topics:
        for partition in topic.partitions:
            try:
                check_partition(topic, partition)
            except InvalidInput as error:
                problems.append(Problem(f"{topic.topic}/{partition.partition}", str(error)))
    for topic, partition, file in manifest.files():
        try:
            for record in read_exported(folder, manifest, topic, partition, file):
                ledger.see(topic.topic, partition.partition, record)
        except InvalidInput as error:
            problems.append(Problem(file.path, str(error)))
        count.add(file.records)
    return problems or [Problem(KEYS, f"key {key_id!r} {what}") for key_id, what in ledger.lacking()]


def check_partition(topic: ExportedTopic, partition: ExportedPartition) -> None:
    """Whether its files follow each other and add up. Raises InvalidInput."""
    expected = partition.first_offset
    for file in partition.files:
        if file.first_offset != expected and not topic.compacted:
            raise InvalidInput("offsets", f"{file.path} begins at {file.first_offset}, not at {expected}")
        expected = file.next_offset
    if expected != partition.next_offset and not topic.compacted:
        raise InvalidInput("offsets", f"its files end at {expected}, not at {partition.next_offset}")
    if (found := sum(file.records for file in partition.files)) != partition.records:
        raise InvalidInput("records", f"its files hold {found}, not {partition.records}")


def read_exported(
    folder: Folder, manifest: Manifest, topic: ExportedTopic, partition: ExportedPartition, file: ExportedFile
) -> Iterator[LogRecord]:
    """A file's records, after its checksum was found to hold. Raises InvalidInput at the first thing that is wrong."""
    data = folder.read(file.path)
    if data is None:
        raise InvalidInput("file", "is not there")
    if len(data) != file.bytes:
        raise InvalidInput("bytes", f"has {len(data)}, not {file.bytes}")
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise InvalidInput("sha256", "the checksum does not hold")
    header, records = read_file(data)
    wanted = FileHeader(cluster=manifest.cluster, topic=topic.topic, partition=partition.partition)
    if header != wanted:
        raise InvalidInput("header", f"is of {header.topic}/{header.partition} of Kafka {header.cluster}")
    expected, number = file.first_offset, 0
    for record in records:
        if record.offset != expected and not (topic.compacted and record.offset > expected):
            raise InvalidInput("offsets", f"{expected} was to come, {record.offset} came")
        expected, number = record.offset + 1, number + 1
        yield record
    if number != file.records:
        raise InvalidInput("records", f"holds {number}, not {file.records}")
    if expected != file.next_offset and not topic.compacted:
        raise InvalidInput("offsets", f"ends at {expected}, not at {file.next_offset}")


def file_entry(folder: Folder, path: str, header: FileHeader) -> ExportedFile | None:
    """The entry of a file that no manifest names; None when it is not whole, or not the partition's."""
    data = folder.read(path)
    if data is None:
        return None
    try:
        found, records = read_file(data)
        offsets = [record.offset for record in records]
    except InvalidInput:
        return None
    if found != header or not offsets or offsets != list(range(offsets[0], offsets[0] + len(offsets))):
        return None
    return ExportedFile(
        path=path,
        first_offset=offsets[0],
        next_offset=offsets[-1] + 1,
        records=len(offsets),
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )
