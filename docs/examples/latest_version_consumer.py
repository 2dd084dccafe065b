"""An example to copy: keeps a pointer to each pet's newest version of clusters, from `media.clusters.updated`.

    python latest_version_consumer.py --brokers 127.0.0.1:9092 --database pointers.db

It needs aiokafka and nothing else. The table `latest` stands for a column on your own pets, SQLite for your own
database. Four rules make it right, whatever is killed, repeated or late; keep them:

1. Rows and position are written in one transaction, and the position is read from there, not from a consumer group.
   So a crash leaves both or neither, and nothing counts twice.
2. A pointer only moves forward: the service repeats messages after its own crashes, never with a lower version last.
3. A message without a value is a tombstone: the pet was purged. Its pointer goes.
4. The topic is compacted: read from its beginning, it has each pet's last message. So losing the database is no loss,
   and a first start is like any other. But the broker keeps tombstones for a day only (`delete.retention.ms`): who was
   away for longer begins anew, or would keep pointers of purged pets.

A message that cannot be read ends the process, and its next start finds the same message: better than a lost one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sqlite3
import time
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

SCHEMA = """
CREATE TABLE IF NOT EXISTS latest (
    pet_id TEXT PRIMARY KEY, version INTEGER NOT NULL, updated_at TEXT NOT NULL,
    cluster_count INTEGER NOT NULL, link TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS positions (partition INTEGER PRIMARY KEY, next_offset INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS alive (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), at REAL NOT NULL);
"""
MOVE_FORWARD = """
INSERT INTO latest (pet_id, version, updated_at, cluster_count, link) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (pet_id) DO UPDATE SET
    version = excluded.version, updated_at = excluded.updated_at,
    cluster_count = excluded.cluster_count, link = excluded.link
WHERE excluded.version > latest.version
"""
LONGEST_PAUSE = 20 * 3600.0
"""Seconds; below the day for which tombstones are kept."""
ALIVE_EVERY = 60.0


class Unreadable(Exception):
    """A message that is no snapshot."""


def open_store(path: str, now: float) -> sqlite3.Connection:
    """The database with our tables; emptied, so that everything is read again, after too long a pause."""
    database = sqlite3.connect(path)
    database.executescript(SCHEMA)
    last = database.execute("SELECT at FROM alive").fetchone()
    with database:
        if last is not None and now - last[0] > LONGEST_PAUSE:
            database.execute("DELETE FROM latest")
            database.execute("DELETE FROM positions")
        note_alive(database, now)
    return database


def note_alive(database: sqlite3.Connection, now: float) -> None:
    """That we have read up to the end of the topic, or nearly."""
    database.execute("INSERT OR REPLACE INTO alive VALUES (1, ?)", (now,))


def write(database: sqlite3.Connection, partition: int, records: Sequence[ConsumerRecord]) -> None:
    """One partition's records and the position behind them, in one transaction."""
    with database:
        for record in records:
            apply(database, record)
        database.execute("INSERT OR REPLACE INTO positions VALUES (?, ?)", (partition, records[-1].offset + 1))


def apply(database: sqlite3.Connection, record: ConsumerRecord) -> None:
    """One message. The key is the pet's id. Fields that are not known are left alone: the service may add some."""
    if record.key is None:
        raise Unreadable(f"partition {record.partition}, offset {record.offset}: no key")
    pet_id = record.key.decode()
    if record.value is None:
        database.execute("DELETE FROM latest WHERE pet_id = ?", (pet_id,))
        return
    try:
        snapshot = json.loads(record.value)
        row = (snapshot["version"], snapshot["updated_at"], snapshot["cluster_count"], snapshot["link"])
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"partition {record.partition}, offset {record.offset}: {error!r}") from error
    database.execute(MOVE_FORWARD, (pet_id, *row))


async def consume(database: sqlite3.Connection, brokers: str, topic: str, stopping: asyncio.Event) -> None:
    """Follow all partitions of the topic until `stopping`."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=brokers,
        group_id=None,  # all partitions are ours, and the position is in our database
        enable_auto_commit=False,
        auto_offset_reset="earliest",  # also where the topic was made anew and is shorter than our position
        request_timeout_ms=10_000,  # so long a topic that is not there is waited for, too
    )
    try:
        await consumer.start()
        for partition, next_offset in database.execute("SELECT partition, next_offset FROM positions"):
            consumer.seek(TopicPartition(topic, partition), next_offset)
        alive_at = time.time()
        while not stopping.is_set():
            polled = await consumer.getmany(timeout_ms=500, max_records=500)
            for each, records in polled.items():
                write(database, each.partition, records)
            if time.time() - alive_at > ALIVE_EVERY:
                alive_at = time.time()
                with database:
                    note_alive(database, alive_at)
    finally:
        await consumer.stop()


async def main() -> None:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="Keep a pointer to each pet's newest version of clusters.")
    parser.add_argument("--brokers", default="127.0.0.1:9092", help="comma list of host:port")
    parser.add_argument("--topic", default="media.clusters.updated")
    parser.add_argument("--database", default="pointers.db", help="SQLite file")
    given = parser.parse_args()
    stopping = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopping.set)
    await consume(open_store(given.database, time.time()), given.brokers, given.topic, stopping)


if __name__ == "__main__":
    asyncio.run(main())
