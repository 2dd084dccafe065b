"""docs/examples/latest_version_consumer.py on the real broker: killed, repeated, late, purged, lost, away for long."""

from __future__ import annotations

import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from app.local.kafka import KafkaServer
from docs.examples.latest_version_consumer import LONGEST_PAUSE, SCHEMA
from schemas.public import ClustersUpdated
from schemas.topics import Topics
from tests.integration.bridge_rig import eventually

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "latest_version_consumer.py"
Run = Callable[[], contextlib.AbstractContextManager[subprocess.Popen[str]]]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """The consumer's own file, with its tables."""
    connection = sqlite3.connect(tmp_path / "pointers.db", timeout=30, isolation_level=None)
    connection.executescript(SCHEMA)
    yield connection
    connection.close()


@pytest.fixture
def run(kafka: KafkaServer, topics: Topics, tmp_path: Path) -> Run:
    @contextlib.contextmanager
    def running() -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            [
                sys.executable, EXAMPLE, "--brokers", kafka.bootstrap_servers, "--topic", topics.clusters_updated.name,
                "--database", "pointers.db",
            ],
            cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            yield process
            process.terminate()
            process.communicate(timeout=30)
        finally:
            process.kill()
            print(process.communicate()[1])  # shown where a test fails

    return running


class Sender:
    """Sends snapshots as the fold does."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic

    async def send(self, *versions: tuple[str, int | None]) -> None:
        """(pet, version), None for a tombstone; returns after the broker's word on all."""
        sent = [
            await self._producer.send(self._topic, _value(pet, number), key=pet.encode()) for pet, number in versions
        ]
        for each in sent:
            await each

    async def send_bytes(self, pet: str, value: bytes) -> None:
        await self._producer.send_and_wait(self._topic, value, key=pet.encode())


@pytest.fixture
async def sender(kafka: KafkaServer, topics: Topics) -> AsyncIterator[Sender]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, acks="all", enable_idempotence=True)
    await producer.start()
    yield Sender(producer, topics.clusters_updated.name)
    await producer.stop()


def _value(pet_id: str, version: int | None) -> bytes | None:
    if version is None:
        return None
    return msgspec.json.encode(
        ClustersUpdated(
            pet_id=pet_id, version=version, updated_at=f"time of {version}", job_id="j", cluster_count=version % 5,
            image_count=version, unclustered_count=0, clusters=(), link=f"/internal/pets/{pet_id}/clusters",
        )
    )  # fmt: skip


def pointers(database: sqlite3.Connection) -> dict[str, int]:
    return dict(database.execute("SELECT pet_id, version FROM latest"))


def read_to(database: sqlite3.Connection) -> int:
    """How many messages the stored positions lie behind."""
    return int(database.execute("SELECT coalesce(sum(next_offset), 0) FROM positions").fetchone()[0])


async def until_read(database: sqlite3.Connection, messages: int) -> None:
    await eventually(lambda: read_to(database) >= messages)
    assert read_to(database) == messages


async def until_past(database: sqlite3.Connection, messages: int) -> None:
    await eventually(lambda: read_to(database) > messages)


async def test_pointers_move_forward_only_and_go_with_the_pet(
    run: Run, sender: Sender, database: sqlite3.Connection
) -> None:
    with run():
        await sender.send(("a", 1), ("a", 2), ("a", 2), ("a", 1), ("b", 7), ("c", 1), ("c", 2))
        await until_read(database, 7)
        assert pointers(database) == {"a": 2, "b": 7, "c": 2}
        row = database.execute("SELECT * FROM latest WHERE pet_id = 'b'").fetchone()
        assert row == ("b", 7, "time of 7", 2, "/internal/pets/b/clusters")
        await sender.send(("c", None), ("b", 8))
        await until_read(database, 9)
        assert pointers(database) == {"a": 2, "b": 8}
        await sender.send(("c", 2), ("c", None), ("d", None), ("c", 3))  # repeated behind a crash, then a new life
        await until_read(database, 13)
        assert pointers(database) == {"a": 2, "b": 8, "c": 3}


async def test_killed_again_and_again_every_version_counts_once(
    run: Run, sender: Sender, database: sqlite3.Connection
) -> None:
    # What the effect on an application's own rows would be: written in the same transaction, so visible once or never.
    database.execute("CREATE TABLE changes (pet_id TEXT, version INTEGER)")
    for event in ("INSERT", "UPDATE"):
        database.execute(
            f"CREATE TRIGGER on_{event} AFTER {event} ON latest BEGIN"
            " INSERT INTO changes VALUES (new.pet_id, new.version); END"
        )
    draw, counts, total = random.Random(4), dict.fromkeys(("a", "b", "c", "d"), 0), 0
    for _ in range(4):
        with run() as process:
            seen = read_to(database)
            for _ in range(40):
                pet = draw.choice(list(counts))
                counts[pet] += 1
                repeats = [(pet, max(1, counts[pet] - back)) for back in range(draw.randint(0, 2), -1, -1)]
                total += len(repeats)
                await sender.send(*repeats)
                if read_to(database) > seen + 20:
                    break
            await until_past(database, seen)
            process.send_signal(signal.SIGKILL)
            process.wait()
    with run():
        await until_read(database, total)
    assert pointers(database) == {pet: number for pet, number in counts.items() if number}
    changes = database.execute("SELECT pet_id, version FROM changes ORDER BY rowid").fetchall()
    for pet, number in counts.items():
        assert [version for of, version in changes if of == pet] == list(range(1, number + 1))


async def test_rows_and_position_are_written_together_or_not_at_all(
    run: Run, sender: Sender, database: sqlite3.Connection
) -> None:
    database.execute("CREATE TRIGGER broken BEFORE INSERT ON positions BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    await sender.send(("a", 1), ("b", 1))
    with run() as process:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, "disk full" in errors) == (1, True)
    assert (pointers(database), read_to(database)) == ({}, 0)
    database.execute("DROP TRIGGER broken")
    with run():
        await until_read(database, 2)
    assert pointers(database) == {"a": 1, "b": 1}


@pytest.mark.parametrize("lost", ["the database", "too much time"])
async def test_what_is_lost_is_read_again_from_the_beginning(
    run: Run, sender: Sender, database: sqlite3.Connection, lost: str
) -> None:
    await sender.send(("a", 1), ("b", 4), ("c", 2), ("c", None))
    with run():
        await until_read(database, 4)
    if lost == "the database":
        database.executescript("DELETE FROM latest; DELETE FROM positions; DELETE FROM alive")
    else:  # its purge was compacted away meanwhile
        database.execute("INSERT INTO latest VALUES ('ghost', 9, '', 0, '')")
        with run():
            await sender.send(("a", 2))
            await until_read(database, 5)
        assert pointers(database) == {"a": 2, "b": 4, "ghost": 9}, "a short pause reads nothing again"
        database.execute("UPDATE alive SET at = ?", (time.time() - LONGEST_PAUSE - 1,))
    await sender.send(("a", 3))
    with run():
        await eventually(lambda: pointers(database) == {"a": 3, "b": 4})


@pytest.mark.parametrize("value", [b"{", b'"text"', b'{"version": 1}'])
async def test_a_message_that_cannot_be_read_ends_it_and_stays_in_front(
    run: Run, sender: Sender, database: sqlite3.Connection, value: bytes
) -> None:
    await sender.send_bytes("a", value)
    with run() as process:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert ", offset 0: " in errors
    assert read_to(database) == 0


def test_a_topic_that_is_not_there_is_told(kafka: KafkaServer, tmp_path: Path) -> None:
    arguments: list[Any] = [sys.executable, EXAMPLE, "--brokers", kafka.bootstrap_servers, "--topic", "none.such"]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "UnknownTopicOrPartitionError" in done.stderr.splitlines()[-1]
