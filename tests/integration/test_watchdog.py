"""The watchdog in a real fold worker on a real broker: it ends what stands still, and says what that was."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from rocksdict import Options, Rdict

from app.faust_apps import changelog_topic, group_id
from app.local.kafka import KafkaServer
from app.local.ports import HOST, free_port
from app.local.probe import answers_ok
from app.local.processes import wait_until
from app.prepare import create_topics, record_first_facts
from app.settings import Settings
from schemas.codec import encode_fact
from schemas.topics import Topics
from tests.albums import Directions, embedded, image
from tests.conftest import TEST_PARTITIONS

REPOSITORY = Path(__file__).parents[2]
STUCK_WORKER = Path(__file__).with_name("stuck_worker.py")
WATCHDOG_SECONDS = 4
END_SECONDS = 60
TIME = "2026-11-21T00:00:00.000000+00:00"


@dataclass
class Worker:
    """A fold worker in a process of its own."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int

    def ready(self) -> bool:
        return answers_ok(f"http://{HOST}:{self.port}/readyz")

    def end(self) -> str:
        """Wait for exit code 70; the reason that it gave."""
        assert self.process.wait(END_SECONDS) == 70, self.log.read_text()[-3000:]
        lines = [line for line in self.log.read_text().splitlines() if '"aborted"' in line]
        assert len(lines) == 1, "one line says why"
        reason: str = json.loads(lines[0])["reason"]
        return reason


class Rig:
    """Topics with first facts, and workers on them."""

    def __init__(self, kafka: KafkaServer, topics: Topics, folder: Path) -> None:
        self.topics = topics
        self.data_dir = folder / "state"
        self.settings = Settings(
            kafka_bootstrap_servers=kafka.bootstrap_servers,
            kafka_topic_prefix=topics.prefix,
            kafka_partitions=TEST_PARTITIONS,
        )
        self.tables = self.data_dir / "fold-1" / "v1" / "tables"
        self._folder = folder
        self._workers: list[Worker] = []

    def start(self, *argv: str) -> Worker:
        port = free_port()
        log = self._folder / f"{len(self._workers)}.log"
        env = {
            "KAFKA_BOOTSTRAP_SERVERS": self.settings.kafka_bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": self.topics.prefix,
            "KAFKA_PARTITIONS": str(TEST_PARTITIONS),
            "DATA_DIR": str(self.data_dir),
            "WATCHDOG_SECONDS": str(WATCHDOG_SECONDS),
            "WORKER_METRICS_HOST": HOST,
            "WORKER_METRICS_PORT": str(port),
            "PYTHONPATH": str(REPOSITORY),
        }
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, *argv], env={**os.environ, **env}, cwd=REPOSITORY, stdout=output, stderr=output
            )
        self._workers.append(Worker(process, log, port))
        return self._workers[-1]

    def start_stuck(self, part: str) -> Worker:
        return self.start(str(STUCK_WORKER), part)

    def start_fold(self) -> Worker:
        """A worker as it is; returns when it is ready."""
        worker = self.start("-m", "app", "fold")
        assert wait_until(worker.ready, END_SECONDS), worker.log.read_text()[-3000:]
        return worker

    async def publish(self, jobs: int) -> None:
        """Facts that the fold turns into rows, on every partition."""
        directions = Directions(1)
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka_bootstrap_servers)
        await producer.start()
        try:
            for number in range(jobs):
                pet = f"pet-{number}"
                images = [image(f"{pet}-{n}", directions.near(directions.new())) for n in range(3)]
                fact = embedded(images, job_id=f"job-{number}", enqueued_at=TIME)
                value = encode_fact(fact, event_id=f"id-{number}", time=TIME, pet_id=pet)
                await producer.send_and_wait(
                    self.topics.pet_log.name, value, key=pet.encode(), partition=number % TEST_PARTITIONS
                )
        finally:
            await producer.stop()

    async def fold_and_stop(self) -> None:
        """Have a worker fold some facts, and end it in good order."""
        await self.publish(2 * TEST_PARTITIONS)
        worker = self.start_fold()
        await self.until_all_committed()
        worker.process.terminate()
        assert worker.process.wait(END_SECONDS) == 0

    async def until_all_committed(self) -> None:
        deadline = time.monotonic() + END_SECONDS
        while not await self.all_committed():
            assert time.monotonic() < deadline, "the fold has not committed to the end of the log"
            await asyncio.sleep(0.2)

    async def all_committed(self) -> bool:
        """Whether the fold's group has committed to the ends of the log."""
        client = AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka_bootstrap_servers, group_id=group_id(self.settings, "fold")
        )
        await client.start()
        try:
            partitions = [TopicPartition(self.topics.pet_log.name, number) for number in range(TEST_PARTITIONS)]
            ends = await client.end_offsets(partitions)
            return all([await client.committed(tp) == ends[tp] for tp in partitions])
        finally:
            await client.stop()

    def close(self) -> None:
        for worker in self._workers:
            worker.process.kill()
            worker.process.wait()


@pytest.fixture
async def rig(kafka: KafkaServer, topics: Topics, tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(kafka, topics, tmp_path)
    await create_topics(made.settings, (changelog_topic(made.settings, "fold"),))
    await record_first_facts(made.settings)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("agent", r"lag without progress: nothing finished for \d+ s with 12 records .* finished up to 0 of 4"),
        ("loop", r"blocked event loop: it has not run for \d+ s"),
        ("commit", r"stuck commit: .*media\.pet-log/\d is finished up to 4, but its committed offset has been 0 for"),
        ("membership", r"stuck membership: the brokers answer, but no heartbeat or join of ours for \d+ s"),
    ],
)
async def test_a_worker_that_stands_still_ends_and_says_what_was_stuck(rig: Rig, part: str, reason: str) -> None:
    await rig.publish(2 * TEST_PARTITIONS)
    assert re.search(reason, rig.start_stuck(part).end())


async def test_a_stuck_recovery_sets_the_local_tables_aside_and_the_next_start_works(rig: Rig) -> None:
    await rig.fold_and_stop()
    reason = rig.start_stuck("recovery").end()
    assert re.search(r"stuck recovery: no offset moved for \d+ s, \d+ changelog records remain; .* moved to ", reason)
    assert not rig.tables.exists()
    assert list(rig.tables.with_name("tables.set-aside").iterdir())
    rig.start_fold()


async def test_local_tables_that_are_ahead_of_the_broker_are_told_and_kept(rig: Rig) -> None:
    """They may be the only copy."""
    await rig.fold_and_stop()
    (first, *_) = sorted(rig.tables.glob("pets-*.db"))
    database = Rdict(str(first), Options(raw_mode=True))
    database[b"__faust\0offset__"] = b"999999"
    database.close()
    assert re.search(r"local tables ahead of the broker: .*999999", rig.start("-m", "app", "fold").end())
    assert first.exists()


async def test_neither_a_quiet_worker_nor_a_stopped_one_is_ended(rig: Rig) -> None:
    """Quiet for longer than the watchdog's time, then stopped for longer than it, with work waiting."""
    worker = rig.start_fold()
    await rig.publish(TEST_PARTITIONS)
    await rig.until_all_committed()
    await asyncio.sleep(1.5 * WATCHDOG_SECONDS)
    worker.process.send_signal(signal.SIGSTOP)
    await rig.publish(TEST_PARTITIONS)
    await asyncio.sleep(1.5 * WATCHDOG_SECONDS)  # shorter than the lease
    worker.process.send_signal(signal.SIGCONT)
    await rig.until_all_committed()
    assert worker.process.poll() is None, worker.log.read_text()[-3000:]
