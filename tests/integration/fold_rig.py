"""Fold workers in processes of their own on a real broker. Used by tests of what only a whole worker shows."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

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


class FoldRig:
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

    def start(self, *argv: str, worker_id: str = "1", watchdog_seconds: float = WATCHDOG_SECONDS) -> Worker:
        port = free_port()
        log = self._folder / f"{len(self._workers)}.log"
        env = {
            "KAFKA_BOOTSTRAP_SERVERS": self.settings.kafka_bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": self.topics.prefix,
            "KAFKA_PARTITIONS": str(TEST_PARTITIONS),
            "DATA_DIR": str(self.data_dir),
            "WORKER_ID": worker_id,
            "WATCHDOG_SECONDS": str(watchdog_seconds),
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


@asynccontextmanager
async def open_fold_rig(kafka: KafkaServer, topics: Topics, folder: Path) -> AsyncIterator[FoldRig]:
    """Topics with first facts; workers that are left at the end are killed."""
    made = FoldRig(kafka, topics, folder)
    await create_topics(made.settings, (changelog_topic(made.settings, "fold"),))
    await record_first_facts(made.settings)
    try:
        yield made
    finally:
        made.close()
