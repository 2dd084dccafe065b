"""The fold's rows of one partition, in a RocksDB folder: folding the log needs no memory for them and can go on later.

`offset` says up to where the log has been folded into them. Used by rebuilds, `projections.verify` and `app.whatif`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, MutableMapping
from itertools import takewhile
from pathlib import Path
from typing import Final

from rocksdict import DBCompressionType, Options, Rdict, WriteBatch, WriteOptions

_OFFSET: Final = b"\xff/next-offset"


class FoldState(MutableMapping[bytes, bytes]):
    """Rows by key. Close it; one process at a time may hold it open.

    `durable`: whether a kill leaves what was written before it; without, writing costs a quarter, and `offset` is to be
    set when all is written.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        # Most bytes are vectors, which hardly shrink: compressing them takes longer than writing them.
        options.set_compression_type(DBCompressionType.none())
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._rows = Rdict(str(folder), options)
        if not durable:
            unlogged = WriteOptions()
            unlogged.disable_wal = True
            self._rows.set_write_options(unlogged)

    @property
    def offset(self) -> int:
        """The next offset of the log to be folded."""
        stored = self._rows.get(_OFFSET)
        return int(stored) if stored is not None else 0

    @offset.setter
    def offset(self, offset: int) -> None:
        self._rows[_OFFSET] = str(offset).encode()

    def write(self, changes: Mapping[bytes, bytes | None], offset: int) -> None:
        """Put the rows (None deletes) and the offset together: a kill leaves all of it or nothing."""
        batch = WriteBatch(raw_mode=True)
        for key, value in changes.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(_OFFSET, str(offset).encode())
        self._rows.write(batch)

    def close(self) -> None:
        """Write out and let go."""
        self._rows.close()

    def __getitem__(self, key: bytes) -> bytes:
        value: bytes | None = self._rows.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._rows[key] = value

    def __delitem__(self, key: bytes) -> None:
        self._rows.delete(key)

    def __iter__(self) -> Iterator[bytes]:
        keys: Iterator[bytes] = self._rows.keys()
        return (key for key in keys if key != _OFFSET)

    def under(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """(key, row) of the keys that begin with `prefix`, in order."""
        rows: Iterator[tuple[bytes, bytes]] = self._rows.items(from_key=prefix)
        return takewhile(lambda row: row[0].startswith(prefix), rows)

    def key_from(self, start: bytes) -> bytes | None:
        """The first key that is not before `start`."""
        return next((key for key in self._rows.keys(from_key=start) if key != _OFFSET), None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def forget(folder: Path) -> None:
    """Remove the folder; the next state there is empty."""
    shutil.rmtree(folder, ignore_errors=True)
