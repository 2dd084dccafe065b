"""A deployment in which a pet was purged and lives again, to plant leftovers in. Used by test_purge_check."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.partitioner import DefaultPartitioner
from rocksdict import Options, Rdict

from app.faust_apps import changelog_topic
from app.settings import Settings
from projections.cache import AnswerCache
from schemas.codec import encode_fact
from schemas.facts import DecisionSubmitted, Fact, ImagesEmbedded, ImagesRemoved, PetPurged
from schemas.pet_keys import Destroyed, PetKey, encode_key
from schemas.versions import PetErased
from tables.replay import LogReplay
from tables.rows import EventRow, encode, row_key
from tests.albums import Directions, embedded, image
from tests.conftest import TEST_PARTITIONS
from tests.integration.projections.purge_samples import OTHER, PET, at, erased, fill, project
from tests.integration.projections.samples import START, member, version

PURGE_OFFSET = 4
"""In the pet's partition of the log: four facts come before, one behind."""
LAST_VERSION = 65
OLD, NEW = "key-1", "key-2"


def fact(*names: str) -> ImagesEmbedded:
    """Images of a job."""
    directions = Directions(3)
    return embedded([image(name, directions.near(directions.new())) for name in names], job_id=f"job-{names[0]}")


def decision() -> DecisionSubmitted:
    """A name that a user has given."""
    arguments = {"cluster": 0, "name": "Rex"}
    return DecisionSubmitted(decision_id="d-1", kind="rename", expected_version=1, arguments=arguments, who="ann")


def removal() -> ImagesRemoved:
    """A photo that is gone where it came from."""
    return ImagesRemoved(request_id="r-1", image_ids=("b",), reason="deleted by its owner")


def live(key_id: str, pet_id: str = PET) -> PetKey:
    """A key with its secret."""
    return PetKey(key_id=key_id, pet_id=pet_id, created_at=at(1), secret=key_id.encode().ljust(32, b"."))


def destroyed(key_id: str) -> PetKey:
    """What a purge leaves of a key."""
    end = Destroyed(purge_id="purge-1", last_version=LAST_VERSION, next_cluster=4)
    return msgspec.structs.replace(live(key_id), secret=b"", destroyed=end)


def purged_fact() -> PetPurged:
    """The fact of the purge."""
    return PetPurged(purge_id="purge-1", accepted_until=at(500), keys=(OLD,), who="ann", why="asked by the owner")


def head(*entries: tuple[str, ImagesEmbedded]) -> dict[bytes, bytes]:
    """The rows that the fold makes of facts at offsets; `entries` are (offset as text, fact)."""
    replay = LogReplay(0)
    for offset, each in entries:
        replay.feed(int(offset), PET.encode(), encode_fact(each, event_id=offset, time=at(1), pet_id=PET))
    return {key: value for key, value in replay.rows.items() if key.startswith(PET.encode())}


@dataclass
class World:
    """What stands where; change it, then `write`. Topics: lists of (key, value, seconds after START)."""

    settings: Settings
    pool: Any
    redis: Any
    log: list[tuple[Fact, PetKey | None, float]] = field(default_factory=list)
    keys: list[PetKey] = field(default_factory=list)
    fold: dict[bytes, bytes | None] = field(default_factory=dict)
    embed: dict[bytes, bytes | None] = field(default_factory=dict)
    updated: list[bytes | None] = field(default_factory=list)
    others: list[tuple[str, bytes, float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        old = live(OLD)
        self.log = [
            *((fact("a", "b"), old, 100), (decision(), old, 200), (fact("d"), old, 300), (removal(), old, 400)),
            *((purged_fact(), None, 510), (fact("new"), live(NEW), 600)),
        ]
        self.keys = [old, destroyed(OLD), live(NEW), live("key-9", OTHER)]
        before, after = head(("0", fact("a", "b")), ("1", fact("c"))), head((str(PURGE_OFFSET + 1), fact("new")))
        self.fold = {**before, **dict.fromkeys(before), **after}
        self.fold[row_key(PET, "c", PURGE_OFFSET)] = encode(EventRow([], []))
        self.fold[row_key(PET, "p", PURGE_OFFSET)] = b"which rows"
        self.embed = {f"{PET}/a".encode(): None, f"{PET}/new".encode(): b"known", f"{PET}//purge".encode(): b"mark"}
        self.updated = [b'{"version":65}', None, b'{"version":66}']

    @property
    def partition(self) -> int:
        """The pet's."""
        numbers = list(range(TEST_PARTITIONS))
        number: int = DefaultPartitioner()(PET.encode(), numbers, numbers)
        return number

    @property
    def cache(self) -> AnswerCache:
        """The answers."""
        return AnswerCache(self.redis, namespace=self.settings.namespace, ttl_seconds=600)

    def state(self, name: str, rows: dict[bytes, bytes]) -> None:
        """Local table files as a worker leaves them."""
        folder = self.settings.data_dir / "worker-1" / "v1" / "tables" / f"{name}-0.db"
        folder.parent.mkdir(parents=True, exist_ok=True)
        database = Rdict(str(folder), Options(raw_mode=True))
        for key, value in rows.items():
            database[key] = value
        database.close()

    async def write(self) -> None:
        """Put everything where it belongs."""
        await fill(self.pool)
        await project(self.pool, self.erased(), version(PET, 66, (member("new", -1),), time=at(600)))
        await self.cache.put_mark(PET, 1, LAST_VERSION)
        self.state("pets", {key: value for key, value in self.fold.items() if value is not None})
        self.state("known-images", {key: value for key, value in self.embed.items() if value is not None})
        async with self._producing() as send:
            await self._write_topics(send)

    def erased(self) -> PetErased:
        """The fold's word."""
        return erased(LAST_VERSION, partition=self.partition, offset=PURGE_OFFSET)

    async def _write_topics(self, send: Any) -> None:
        names, pet = self.settings.topics(), PET.encode()
        for number, (each, key, seconds) in enumerate(self.log):
            value = encode_fact(each, event_id=f"e{number}", time=at(seconds), pet_id=PET, key=key)
            await send(names.pet_log.name, pet, value, seconds)
        for key in self.keys:
            await send(names.pet_keys.name, key.key_id.encode(), encode_key(key), 1)
        for role, rows in (("fold", self.fold), ("embed", self.embed)):
            for row, latest in rows.items():
                await send(changelog_topic(self.settings, role).name, row, b"older", 1)
                await send(changelog_topic(self.settings, role).name, row, latest, 2)
        for snapshot in self.updated:
            await send(names.clusters_updated.name, pet, snapshot, 1)
        for topic, value, seconds, kind in self.others:
            await send(names.prefix + topic, pet, value, seconds, kind)

    @asynccontextmanager
    async def _producing(self) -> AsyncIterator[Any]:
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka_bootstrap_servers, acks="all")
        await producer.start()

        async def send(topic: str, key: bytes, value: bytes | None, seconds: float, kind: str = "") -> None:
            moment = int((START + timedelta(seconds=seconds)).timestamp() * 1000)
            headers = [("ce_type", kind.encode())]
            await producer.send_and_wait(
                topic, value, key=key, partition=self.partition, timestamp_ms=moment, headers=headers
            )

        try:
            yield send
        finally:
            await producer.stop()


async def make_changelogs(settings: Settings) -> None:
    """Make the changelogs, which `prepare` makes beside the other topics."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    await admin.start()
    try:
        topics = [changelog_topic(settings, role) for role in ("fold", "embed")]
        await admin.create_topics(
            [NewTopic(each.name, TEST_PARTITIONS, 1, topic_configs=each.configs()) for each in topics]
        )
    finally:
        await admin.close()


def entry_id(seconds: float) -> str:
    """Of a stream's entry that was added then."""
    return f"{int((START + timedelta(seconds=seconds)).timestamp() * 1000)}-0"


def settings_of(bootstrap: str, prefix: str, database_url: str, redis_url: str, data_dir: Path) -> dict[str, str]:
    """The environment of a command that works on this deployment."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "KAFKA_TOPIC_PREFIX": prefix,
        "KAFKA_PARTITIONS": str(TEST_PARTITIONS),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "DATA_DIR": str(data_dir),
        "NAMESPACE": "test.clusters",
    }
