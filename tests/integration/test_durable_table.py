"""Recovery of the durable table on a real RocksDB: which changelog records are taken, and how far it says it is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from faust.types import TP

from agents.durable_table import DurableTable
from app.faust_apps import ROCKSDB_OPTIONS
from tables.replay import LogReplay
from tables.rows import head_key
from tests.unit.test_fold import burst_log

CHANGELOG = TP("pets-changelog", 0)
KEY = head_key("pet_1")


@pytest.fixture
def table(tmp_path: Path) -> DurableTable:
    app = faust.App("recovering", store="rocksdb://", datadir=str(tmp_path), Table=DurableTable, autodiscover=False)
    made: DurableTable = app.Table("pets", key_type=bytes, value_type=bytes, partitions=1, options=ROCKSDB_OPTIONS)
    made.guards_heads = True
    return made


def heads() -> list[bytes]:
    """The heads of a pet after each of its first events."""
    replay, found = LogReplay(0), []
    for offset, (key, value) in enumerate(burst_log(1)[:4]):
        replay.apply(offset, key, value)
        found.append(replay.rows[KEY])
    return found


def record(offset: int, key: bytes, value: bytes | None) -> Any:
    message = SimpleNamespace(tp=CHANGELOG, partition=0, offset=offset, key=key, value=value)
    return SimpleNamespace(message=message, key=key, value=value)


def recovered(table: DurableTable, *records: tuple[int, bytes, bytes | None]) -> None:
    table.apply_changelog_batch([record(*each) for each in records])


def stored(table: DurableTable, key: bytes) -> bytes | None:
    value: bytes | None = table.data._db_for_partition(0).get(key)
    return value


def sent(table: DurableTable, offset: int) -> None:
    """The broker acknowledges a changelog record of ours at `offset`."""
    metadata = SimpleNamespace(topic_partition=CHANGELOG, offset=offset)
    table._on_changelog_sent(SimpleNamespace(result=lambda: metadata))


def test_a_head_never_goes_back_whoever_wrote_last(table: DurableTable) -> None:
    first, second, third, _ = heads()
    recovered(table, (0, KEY, first), (1, KEY, third), (2, KEY, second))
    assert stored(table, KEY) == third, "the late record of a stale writer, in the same batch"
    recovered(table, (3, KEY, second), (4, b"pet_1/i/7", b"row"))
    assert stored(table, KEY) == third, "and in a later one"
    assert stored(table, b"pet_1/i/7") == b"row"
    assert table.data.persisted_offset(CHANGELOG) == 4, "records left out count as read"


def test_a_head_written_behind_its_deletion_is_taken(table: DurableTable) -> None:
    first, _, third, _ = heads()
    recovered(table, (0, KEY, third), (1, KEY, None), (2, KEY, first))
    assert stored(table, KEY) == first
    recovered(table, (3, KEY, None))
    assert stored(table, KEY) is None


def test_other_tables_take_every_record_whatever_its_key(table: DurableTable) -> None:
    table.guards_heads = False
    recovered(table, (0, b"rex/h", b"an image with the id h"), (1, b"rex/h", b"again"))
    assert stored(table, b"rex/h") == b"again"


def test_the_store_never_claims_records_that_another_worker_wrote(table: DurableTable) -> None:
    recovered(table, (99, b"a", b"1"), (100, b"b", b"2"))
    sent(table, 101)
    assert table.data.persisted_offset(CHANGELOG) == 101
    sent(table, 151)  # 102 to 150 are another writer's: this worker was away and does not know it
    sent(table, 152)
    assert table.data.persisted_offset(CHANGELOG) == 101, "the next recovery reads from here"


def test_a_fresh_store_counts_from_the_changelogs_beginning(table: DurableTable) -> None:
    sent(table, 0)
    sent(table, 1)
    assert table.data.persisted_offset(CHANGELOG) == 1


def test_large_rows_stand_apart_and_as_they_are(table: DurableTable, tmp_path: Path) -> None:
    large, small = b"vectors " * 2_000, b"a head"
    table.data._db_for_partition(0)[b"pet_1/i/1"] = large
    table.data._db_for_partition(0)[b"pet_1/h"] = small
    table.data._db_for_partition(0).close()
    blobs = b"".join(path.read_bytes() for path in tmp_path.rglob("*.blob"))
    assert large in blobs
    assert small not in blobs
