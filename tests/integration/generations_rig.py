"""A log that is written to, and fold workers on it that are started again when they end: for rebuilds of the tables."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.partitioner import DefaultPartitioner

from app.faust_apps import changelog_topic, group_id
from app.fold_generations import read_standing
from app.local.ports import HOST, free_port
from app.prepare import create_topics, record_first_facts
from app.progress import Display
from app.rebuild.fold.build import build_partition
from app.rebuild.fold.hand_over import commit_for
from app.rebuild.fold.job import FoldJob
from app.rebuild.fold.rebuild import FoldRebuild
from app.settings import Settings
from projections.offsets import LogOffsets
from schemas.codec import decode_version, encode_fact
from schemas.facts import PetPurged
from schemas.generations import Generation
from schemas.pet_keys import PetKey
from schemas.topics import Topics
from tables.rows import is_head
from tables.store import PetStore
from tests.albums import DIMENSION, MODEL, Directions, embedded, image
from tests.conftest import TEST_PARTITIONS
from tests.e2e.audit import OfflineFold, fold_offline
from tests.e2e.kafka_log import read_topic
from tests.integration.app_command import run_app
from tests.integration.bridge_rig import eventually

REPOSITORY = Path(__file__).parents[2]
TIME = "2026-11-21T00:00:00.000000+00:00"
SECONDS = 90.0


class FoldRig:
    """Call `prepare` first and `close` at the end."""

    def __init__(
        self, bootstrap_servers: str, topics: Topics, database_url: str, folder: Path, redis_url: str = ""
    ) -> None:
        self.topics = topics
        self.folder = folder
        self.env = {
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": topics.prefix,
            "KAFKA_PARTITIONS": str(TEST_PARTITIONS),
            "KAFKA_SESSION_TIMEOUT_SECONDS": "6",
            "DATABASE_URL": database_url,
            "DATA_DIR": str(folder / "state"),
            "EMBEDDING_MODEL_NAME": MODEL.partition("@")[0],
            "EMBEDDING_MODEL_VERSION": MODEL.partition("@")[2],
            "MODEL_DIMENSION": str(DIMENSION),
            "OPENBLAS_NUM_THREADS": "1",
        }
        if redis_url:
            self.env["REDIS_URL"] = redis_url
        self.settings = Settings(**{name.lower(): value for name, value in self.env.items()})  # type: ignore[arg-type]
        self._directions = Directions(3)
        self._scenes = [self._directions.new() for _ in range(4)]
        self._keepers: list[asyncio.Task[None]] = []
        self._published = 0

    async def prepare(self) -> None:
        """What `python -m app prepare` does on the broker."""
        await create_topics(self.settings, (changelog_topic(self.settings, "fold"),))
        await record_first_facts(self.settings)

    async def publish(self, facts: int, pets: int = 12, key: PetKey | None = None) -> None:
        """Write facts of three images each, the pets in turn; `key` seals them."""
        await self.write(self.topics.pet_log.name, *(self._fact(pets, key) for _ in range(facts)))

    async def purge(self, pet: str, *keys: str, purge_id: str = "purge-1") -> None:
        """Write the fact of a purge."""
        fact = PetPurged(purge_id=purge_id, accepted_until=TIME, keys=keys, who="ann", why="asked")
        value = encode_fact(fact, event_id=purge_id, time=TIME, pet_id=pet)
        await self.write(
            self.topics.pet_log.name, {"key": pet.encode(), "value": value, "partition": partition_of(pet)}
        )

    async def write(self, topic: str, *records: dict[str, Any]) -> None:
        """Write records: key, value and partition of each."""
        async with contextlib.AsyncExitStack() as opened:
            producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka_bootstrap_servers)
            await producer.start()
            opened.push_async_callback(producer.stop)
            await asyncio.gather(*[await producer.send(topic, **record) for record in records])

    def _fact(self, pets: int, key: PetKey | None) -> dict[str, Any]:
        number, self._published = self._published, self._published + 1
        pet = f"pet-{number % pets}"
        scene = self._scenes[number % len(self._scenes)]
        images = [image(f"{pet}-{number}-{shot}", self._directions.near(scene)) for shot in range(3)]
        fact = embedded(images, job_id=f"job-{number}", enqueued_at=TIME)
        value = encode_fact(fact, event_id=f"id-{number}", time=TIME, pet_id=pet, key=key)
        return {"key": pet.encode(), "value": value, "partition": partition_of(pet)}

    async def fold_without_workers(self, generation: int = 1) -> None:
        """Have a generation stand at the log's end, as if workers had folded it; nothing is sent."""
        name, changelog = self.topics.pet_log.name, changelog_topic(self.settings, "fold", generation).name
        async with LogOffsets(self.settings.kafka_bootstrap_servers) as broker:
            ends = await broker.ends([TopicPartition(name, number) for number in range(TEST_PARTITIONS)])
        for tp, end in ends.items():
            folder = self.folder / f"folded-{generation}" / str(tp.partition)
            brokers = self.settings.kafka_bootstrap_servers
            names = (name, self.topics.pet_keys.name, changelog, changelog)
            await build_partition(FoldJob(brokers, *names, tp.partition, end, folder))
        await commit_for(self.settings.kafka_bootstrap_servers, group_id(self.settings, "fold", generation), ends)

    def work(self) -> tuple[FoldRebuild, Callable[[], list[dict[str, Any]]]]:
        """A rebuild in this process, and the steps that it has told."""
        out = io.StringIO()
        made = FoldRebuild(self.settings, Display(out, as_json=True), 2)
        return made, lambda: [json.loads(line) for line in out.getvalue().splitlines()]

    async def built(self, facts: int) -> tuple[FoldRebuild, Callable[[], list[dict[str, Any]]]]:
        """As `work`, with the next generation's tables built from a log of so many facts."""
        await self.publish(facts)
        await self.fold_without_workers()
        work, steps = self.work()
        await work.build()
        return work, steps

    async def under_way(self) -> Generation:
        """The generation that a rebuild has begun."""
        found = (await read_standing(self.settings)).under_way
        assert found is not None
        return found

    def keep_worker(self, name: str) -> None:
        """Have a fold worker run from now on, as a supervisor does."""
        self._keepers.append(asyncio.create_task(self._keep(name)))

    async def _keep(self, name: str) -> None:
        with (self.folder / f"fold-{name}.log").open("ab") as log:
            while True:
                env = {**os.environ, **self.env, "WORKER_ID": name}
                env |= {"WORKER_METRICS_HOST": HOST, "WORKER_METRICS_PORT": str(free_port())}
                worker = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "app", "fold", env=env, cwd=REPOSITORY, stdout=log, stderr=log
                )
                try:
                    await worker.wait()
                finally:
                    if worker.returncode is None:
                        worker.terminate()
                        await worker.wait()

    async def stop_workers(self) -> None:
        """End them in good order, for good."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._keepers = []

    async def rebuild(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start the operator's command; its stdout is piped."""
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app", "rebuild", "--projection", "tables", "--json", *arguments,
            env={**os.environ, **self.env}, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    async def command(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run an operator's command to its end, its steps as JSON."""
        return await asyncio.to_thread(run_app, self.folder, *arguments, "--json", **self.env, **variables)

    async def group(self) -> str:
        """The consumer group of the generation that folds now."""
        return group_id(self.settings, "fold", (await read_standing(self.settings)).live.generation)

    async def until_folded(self) -> None:
        """Wait until the live generation has committed to the ends of the log."""
        async with LogOffsets(self.settings.kafka_bootstrap_servers) as broker:
            name = self.topics.pet_log.name
            tps = [TopicPartition(name, number) for number in await broker.partitions(name)]

            async def folded() -> bool:
                try:
                    return await broker.ends(tps) == await broker.committed(await self.group(), tps)
                except GroupCoordinatorNotAvailableError:  # of a broker that has had no group yet
                    return False

            await eventually(folded, SECONDS)

    async def until_rows_come(self, generation: int) -> None:
        """Wait until a generation that is built has a row in its changelog."""

        async def begun() -> bool:
            return (await read_standing(self.settings)).highest == generation

        await eventually(begun, SECONDS)
        async with LogOffsets(self.settings.kafka_bootstrap_servers) as broker:
            name = changelog_topic(self.settings, "fold", generation).name
            tps = [TopicPartition(name, number) for number in range(TEST_PARTITIONS)]

            async def there() -> bool:
                return any((await broker.ends(tps)).values())

            await eventually(there, SECONDS)

    async def read(self, topic: str) -> list[ConsumerRecord]:
        """All records of a topic."""
        return await read_topic(self.settings.kafka_bootstrap_servers, topic)

    async def offline(self) -> OfflineFold:
        """The log folded here."""
        return fold_offline(await self.read(self.topics.pet_log.name))

    async def rows(self, generation: int) -> dict[bytes, bytes]:
        """The rows that a generation's changelog holds."""
        return last_values(await self.read(changelog_topic(self.settings, "fold", generation).name))

    async def audit(self) -> None:
        """Raises AssertionError unless everything that follows from the log was sent in order, its repeats (a rebalance
        has some) byte for byte, and the tables of the generation that folds are what the log folds to.
        """
        offline = await self.offline()
        for channel, topic in (
            ("versions", self.topics.pet_versions),
            ("updated", self.topics.clusters_updated),
            ("status", self.topics.jobs_status),
        ):
            wanted: dict[str, list[bytes]] = defaultdict(list)
            for pet, output in offline.outputs:
                if output.channel == channel:
                    wanted[pet].append(output.value)
            assert wanted, f"{channel}: the log leads to nothing"
            sent: dict[str, list[bytes]] = defaultdict(list)
            for record in await self.read(topic.name):
                sent[record.key.decode()].append(record.value)
            firsts = {pet: list(dict.fromkeys(values)) for pet, values in sent.items()}
            assert firsts == wanted, f"{channel}: something is left out, of other bytes, or out of order"
        assert await self.read(self.topics.deadletter.name) == []
        live = (await read_standing(self.settings)).live
        assert_same_state(await self.rows(live.generation), offline.rows)

    async def audit_hand_over(self) -> None:
        """Raises AssertionError unless each generation has sent the versions of its own events, and of no others."""
        live = (await read_standing(self.settings)).live
        sides = set()
        for record in await self.read(self.topics.pet_versions.name):
            number, version = str(record.partition), decode_version(record.value)
            ours, new = record.offset >= live.versions_ends[number], version.offset >= live.offsets[number]
            assert ours == new, f"{version.pet_id} v{version.version} of {number}/{version.offset}: by the wrong one"
            sides.add(ours)
        assert sides == {False, True}, "both have sent some"

    async def close(self) -> None:
        await self.stop_workers()


def partition_of(pet: str) -> int:
    """Where every producer puts the pet's messages."""
    numbers = list(range(TEST_PARTITIONS))
    return int(DefaultPartitioner()(pet.encode(), numbers, numbers))


def last_values(records: Iterable[ConsumerRecord]) -> dict[bytes, bytes]:
    """What a compacted topic holds; a row of the partition is named after it."""
    rows: dict[bytes, bytes] = {}
    for record in records:
        key = record.key if not record.key.startswith(b"/") else b"%d%s" % (record.partition, record.key)
        if record.value is None:
            rows.pop(key, None)
        else:
            rows[key] = record.value
    return rows


def assert_same_state(rows: dict[bytes, bytes], offline: dict[bytes, bytes]) -> None:
    """Every pet's state, and every row that it stands on."""
    ours, theirs = PetStore(rows.get), PetStore(offline.get)
    heads = {key for key in offline if is_head(key)}
    assert {key for key in rows if is_head(key)} == heads
    for key in heads:
        pet = key.decode().removesuffix("/h")
        assert ours.state(pet) == theirs.state(pet), f"{pet}: state"
    assert {key: rows.get(key) for key in offline if key not in heads} == {
        key: value for key, value in offline.items() if key not in heads
    }
