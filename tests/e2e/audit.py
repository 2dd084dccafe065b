"""The audit of a run, from the outside: what was accepted has had its effect exactly once. Used behind faults.

tests/faults/audit.py, which also knows jobs that fail, shares what folds the log offline.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import asyncpg
from aiokafka import ConsumerRecord

from schemas.codec import decode_message, decode_version
from schemas.decisions import DecisionSettled
from tables.outputs import Output
from tables.replay import LogReplay
from tables.rows import PARTITION_KEY
from tables.store import PetStore
from tests.e2e.kafka_log import Keys, read_log, read_topic
from tests.e2e.service import Service, image_ids_of


async def audit(service: Service, accepted: Mapping[str, Mapping[str, list[str]]]) -> None:
    """`accepted`: pet → job → image ids, all good ones, all jobs ended. Raises AssertionError naming what is wrong."""
    brokers, topics = service.bootstrap_servers, service.topics
    offline = fold_offline(await read_log(brokers, topics))
    assert offline.refused == [], "a fact was refused"
    expected = version_messages(offline)
    sent = by_version(await read_topic(brokers, topics.pet_versions.name), version_number)
    public = by_version(await read_topic(brokers, topics.clusters_updated.name), public_number)
    letters = await read_topic(brokers, topics.deadletter.name)
    assert letters == [], f"{len(letters)} dead letters, none was to be expected: {letters[:1]}"
    for pet, jobs in accepted.items():
        records = [await service.job(job) for job in jobs]
        assert sum(r["placed"] for r in records) == sum(map(len, jobs.values())), f"{pet}: every image placed once"
        wanted = {image_id for image_ids in jobs.values() for image_id in image_ids}
        answer = await service.clusters(pet)
        assert answer["image_count"] == len(wanted), f"{pet}: images of the answer"
        assert image_ids_of(answer) == wanted, f"{pet}: an image is missing or foreign"
        last = offline.store.pet(pet).version
        assert answer["version"] == last, f"{pet}: the answer is not at the log's last version"
        numbers = list(range(1, last + 1))
        assert await rows_of(service, pet) == numbers, f"{pet}: versions in Postgres"
        assert sorted(sent[pet]) == numbers, f"{pet}: versions on the topic"
        assert sorted(public[pet]) == numbers, f"{pet}: public messages"
        for number in numbers:
            assert sent[pet][number] == {expected[pet][number]}, f"{pet} v{number}: repeats differ from the log's fold"
            assert len(public[pet][number]) == 1, f"{pet} v{number}: public repeats differ"


@dataclass
class OfflineFold:
    """A log folded offline. `outputs`: pet and output, in the order of the log; `refused`: facts that are none."""

    rows: dict[bytes, bytes]
    outputs: list[tuple[str, Output]]
    refused: list[tuple[int, int, str]]

    @property
    def store(self) -> PetStore:
        """The pets of all partitions."""
        return PetStore(self.rows.get)


def fold_offline(log: list[ConsumerRecord]) -> OfflineFold:
    """All partitions of the log, each folded by itself, as the fold agent does it."""
    replays = {record.partition: LogReplay(record.partition, keys=Keys()) for record in log}
    outputs = []
    for record in log:
        for output in replays[record.partition].apply(record.offset, record.key, record.value):
            outputs.append((record.key.decode(), output))
    rows = {key: row for replay in replays.values() for key, row in replay.rows.items() if key != PARTITION_KEY}
    refused = [(number, *each) for number, replay in replays.items() for each in replay.refused]
    return OfflineFold(rows, outputs, refused)


def version_messages(offline: OfflineFold) -> dict[str, dict[int, bytes]]:
    """Pet → version → the message that the fold must have sent."""
    expected: dict[str, dict[int, bytes]] = defaultdict(dict)
    for pet, output in offline.outputs:
        if output.channel == "versions":
            expected[pet][decode_version(output.value).version] = output.value
    return expected


def by_version(
    records: list[ConsumerRecord], number: Callable[[bytes], int | None]
) -> dict[str, dict[int, set[bytes]]]:
    """Pet → version → the different values that stand in the topic. `number`: the version that a value is about, None
    for one that is no version.
    """
    found: dict[str, dict[int, set[bytes]]] = defaultdict(lambda: defaultdict(set))
    for record in records:
        if (version := number(record.value)) is not None:
            found[record.key.decode()][version].add(record.value)
    return found


def version_number(value: bytes) -> int | None:
    """Of a message on `media.pet-versions`; None of what became of a decision."""
    message = decode_message(value)
    return None if isinstance(message, DecisionSettled) else message.version


def public_number(value: bytes) -> int:
    """Of a message on `media.clusters.updated`."""
    return int(json.loads(value)["version"])


async def rows_of(service: Service, pet: str) -> list[int]:
    """The pet's versions in Postgres."""
    connection = await asyncpg.connect(service.database_url)
    try:
        rows = await connection.fetch("SELECT version FROM pet_clusters WHERE pet_id = $1 ORDER BY version", pet)
        return [row["version"] for row in rows]
    finally:
        await connection.close()
