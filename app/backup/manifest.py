"""`manifest.json`: what an export holds. Written last, so that it only names files that are there. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

import msgspec

from schemas.errors import InvalidInput

NAME: Final = "manifest.json"
FORMAT: Final = "sploot-log-export"
VERSION: Final = 1


class ExportedFile(msgspec.Struct, frozen=True, kw_only=True):
    """`next_offset`: behind the last record. `bytes` and `sha256`: of the file as it lies there."""

    path: str
    first_offset: int
    next_offset: int
    records: int
    bytes: int
    sha256: str


class ExportedPartition(msgspec.Struct, frozen=True, kw_only=True):
    """`first_offset`: where the topic began, the records before were gone; `next_offset`: where it ended."""

    partition: int
    first_offset: int
    next_offset: int
    records: int
    files: tuple[ExportedFile, ...] = ()


class ExportedTopic(msgspec.Struct, frozen=True, kw_only=True):
    """`topic`: without the prefix. `compacted`: offsets have holes, so they are not kept at an import."""

    topic: str
    compacted: bool
    partitions: tuple[ExportedPartition, ...]


class GroupOffset(msgspec.Struct, frozen=True, kw_only=True):
    """Where a consumer group stood when the export began; both names without the prefix."""

    group: str
    topic: str
    partition: int
    offset: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """An export. `cluster`, `topic_prefix`: of the Kafka that it was read from. `taken_at`: when it was read up to the
    ends that it names, RFC 3339. `fact_versions`: the newest version of each fact that the release knew.
    """

    format: str = FORMAT
    version: int = VERSION
    release: str
    taken_at: str
    cluster: str
    topic_prefix: str
    partitions: int
    fact_versions: dict[str, int]
    groups: tuple[GroupOffset, ...]
    topics: tuple[ExportedTopic, ...]

    def files(self) -> Iterator[tuple[ExportedTopic, ExportedPartition, ExportedFile]]:
        """Every file with what it belongs to, in the order of an import."""
        for topic in self.topics:
            for partition in topic.partitions:
                for file in partition.files:
                    yield topic, partition, file

    def known(self, topic: str, partition: int) -> ExportedPartition | None:
        """What it holds of a partition."""
        found = (each for held in self.topics if held.topic == topic for each in held.partitions)
        return next((each for each in found if each.partition == partition), None)

    @property
    def records(self) -> int:
        """Of all topics."""
        return sum(partition.records for topic in self.topics for partition in topic.partitions)


class _Sealed(msgspec.Struct, frozen=True):
    """The file: the manifest's very bytes, and their checksum."""

    sha256: str
    manifest: msgspec.Raw


_sealed = msgspec.json.Decoder(_Sealed)
_manifest = msgspec.json.Decoder(Manifest)


def encode_manifest(manifest: Manifest) -> bytes:
    """The bytes of `manifest.json`, with their own checksum."""
    body = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    return msgspec.json.encode(_Sealed(hashlib.sha256(body).hexdigest(), msgspec.Raw(body))) + b"\n"


def decode_manifest(data: bytes) -> Manifest:
    """Raises InvalidInput when it is damaged, or of a newer release."""
    try:
        sealed = _sealed.decode(data)
        if hashlib.sha256(sealed.manifest).hexdigest() != sealed.sha256:
            raise InvalidInput(NAME, "its checksum does not hold")
        manifest = _manifest.decode(sealed.manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInput(NAME, f"is not readable: {error}") from error
    if manifest.format != FORMAT or manifest.version != VERSION:
        raise InvalidInput(NAME, f"is {manifest.format!r} version {manifest.version}; this release reads {VERSION}")
    return manifest
