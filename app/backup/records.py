"""The file format of an export: records of one partition, one after the other. Pure; used by export, check and import.

A file is a gzip stream of frames, each 4 bytes of length (big-endian) and that many bytes of msgpack:

    frame 0    FileHeader   a map: what the file is
    frame 1…   LogRecord    an array: offset, timestamp, timestamp type, key, value, headers

gzip's own checksum and length say whether the stream is whole. docs/operations/backup.md describes it for others.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from schemas.errors import InvalidInput

FORMAT: Final = "sploot-log-records"
VERSION: Final = 1
LEVEL: Final = 3
"""Of gzip: vectors hardly get smaller at a higher one."""

_LENGTH: Final = struct.Struct(">I")


class FileHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says about itself. `topic`: without the deployment's prefix; `cluster`: Kafka's id."""

    format: str = FORMAT
    version: int = VERSION
    cluster: str
    topic: str
    partition: int


class LogRecord(msgspec.Struct, frozen=True, array_like=True):
    """One record, byte for byte. `timestamp`: ms since 1970; `timestamp_type`: 0 the producer's, 1 the broker's."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


_header = msgspec.msgpack.Decoder(FileHeader)
_record = msgspec.msgpack.Decoder(LogRecord)


def log_record(record: Any) -> LogRecord:
    """What aiokafka has read, as it is kept."""
    return LogRecord(
        record.offset, record.timestamp, record.timestamp_type, record.key, record.value, tuple(record.headers)
    )


class FileWriter:
    """One file, in memory. `size`: bytes of the records so far, before compression."""

    def __init__(self, header: FileHeader) -> None:
        self._buffer = io.BytesIO()
        # Without a time of its own, so that the same records give the same bytes.
        self._stream = gzip.GzipFile(fileobj=self._buffer, mode="wb", compresslevel=LEVEL, mtime=0)
        self.size = 0
        self.records = 0
        self._frame(header)

    def add(self, record: LogRecord) -> None:
        """Append a record."""
        self.size += self._frame(record)
        self.records += 1

    def finish(self) -> bytes:
        """The file's bytes; not for use afterwards."""
        self._stream.close()
        return self._buffer.getvalue()

    def _frame(self, value: msgspec.Struct) -> int:
        encoded = msgspec.msgpack.encode(value)
        self._stream.write(_LENGTH.pack(len(encoded)) + encoded)
        return len(encoded)


def read_file(data: bytes) -> tuple[FileHeader, Iterator[LogRecord]]:
    """The header, and the records as they are read.

    Raises InvalidInput, and so does the iterator, naming what is wrong.
    """
    frames = _frames(data)
    try:
        header = _header.decode(next(frames, b""))
    except msgspec.MsgspecError as error:
        raise InvalidInput("file", f"does not begin with a header: {error}") from error
    if header.format != FORMAT or not 1 <= header.version <= VERSION:
        raise InvalidInput("file", f"is {header.format!r} version {header.version}; this release reads {VERSION}")
    return header, _records(frames)


def _records(frames: Iterator[bytes]) -> Iterator[LogRecord]:
    for frame in frames:
        try:
            yield _record.decode(frame)
        except msgspec.MsgspecError as error:
            raise InvalidInput("file", f"holds what is no record: {error}") from error


def _frames(data: bytes) -> Iterator[bytes]:
    stream = gzip.GzipFile(fileobj=io.BytesIO(data))
    try:
        while head := stream.read(_LENGTH.size):
            length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else -1
            frame = stream.read(length) if length >= 0 else b""
            if len(frame) != length:
                raise InvalidInput("file", "ends in the middle of a record")
            yield frame
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput("file", f"cannot be decompressed: {error}") from error
