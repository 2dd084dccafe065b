"""The audit of a run, from the outside: what was accepted has had its effect exactly once. Used behind faults."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping

import asyncpg
from aiokafka import ConsumerRecord

from schemas.codec import decode_version
from tables.replay import LogReplay
from tests.e2e.kafka_log import read_topic
from tests.e2e.service import Service, image_ids_of


async def audit(service: Service, accepted: Mapping[str, Mapping[str, list[str]]]) -> None:
    """`accepted`: pet → job → image ids, all good ones, all jobs ended. Raises AssertionError naming what is wrong."""
    log = await read_topic(service.bootstrap_servers, service.topics.pet_log.name)
    replay, expected = replayed(log)
    sent = await by_version(service, service.topics.pet_versions.name)
    public = await by_version(service, service.topics.clusters_updated.name)
    letters = await read_topic(service.bootstrap_servers, service.topics.deadletter.name)
    assert letters == [], f"{len(letters)} dead letters, none was to be expected: {letters[:1]}"
    for pet, jobs in accepted.items():
        records = [await service.job(job) for job in jobs]
        assert sum(r["placed"] for r in records) == sum(map(len, jobs.values())), f"{pet}: every image placed once"
        wanted = {image_id for image_ids in jobs.values() for image_id in image_ids}
        answer = await service.clusters(pet)
        assert answer["image_count"] == len(wanted), f"{pet}: images of the answer"
        assert image_ids_of(answer) == wanted, f"{pet}: an image is missing or foreign"
        last = replay.store.pet(pet).version
        assert answer["version"] == last, f"{pet}: the answer is not at the log's last version"
        numbers = list(range(1, last + 1))
        assert await rows_of(service, pet) == numbers, f"{pet}: versions in Postgres"
        assert sorted(sent[pet]) == numbers, f"{pet}: versions on the topic"
        assert sorted(public[pet]) == numbers, f"{pet}: public messages"
        for number in numbers:
            assert sent[pet][number] == {expected[pet][number]}, f"{pet} v{number}: repeats differ from the log's fold"
            assert len(public[pet][number]) == 1, f"{pet} v{number}: public repeats differ"


def replayed(log: list[ConsumerRecord]) -> tuple[LogReplay, dict[str, dict[int, bytes]]]:
    """All partitions of the log folded offline, and the version messages that the fold must have sent."""
    expected: dict[str, dict[int, bytes]] = defaultdict(dict)
    partitions = {record.partition for record in log}
    replays = {number: LogReplay(number) for number in partitions}
    for record in log:
        for output in replays[record.partition].apply(record.offset, record.key, record.value):
            if output.channel == "versions":
                version = decode_version(output.value)
                expected[version.pet_id][version.version] = output.value
    joined = LogReplay(-1)
    for replay in replays.values():
        assert replay.refused == [], "a fact was refused"
        joined.rows.update({key: row for key, row in replay.rows.items() if key != b"/partition"})
    return joined, expected


async def by_version(service: Service, topic: str) -> dict[str, dict[int, set[bytes]]]:
    """Pet → version → the different values that stand in the topic."""
    found: dict[str, dict[int, set[bytes]]] = defaultdict(lambda: defaultdict(set))
    for record in await read_topic(service.bootstrap_servers, topic):
        versions = topic == service.topics.pet_versions.name
        number = decode_version(record.value).version if versions else json.loads(record.value)["version"]
        found[record.key.decode()][number].add(record.value)
    return found


async def rows_of(service: Service, pet: str) -> list[int]:
    """The pet's versions in Postgres."""
    connection = await asyncpg.connect(service.database_url)
    try:
        rows = await connection.fetch("SELECT version FROM pet_clusters WHERE pet_id = $1 ORDER BY version", pet)
        return [row["version"] for row in rows]
    finally:
        await connection.close()
