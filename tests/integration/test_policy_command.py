"""`python -m app policy` on a log that a fold worker follows: shown, changed, completed, and pets folded anew."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition

from app.clients import create_producer
from app.local.kafka import KafkaServer
from app.partition_facts import write_partition_fact
from app.partitions import log_partitions
from app.policy.change import event_id, planned
from app.policy.in_force import policies_in_force
from app.policy.overrides import parse
from app.progress import Display
from projections.pool import create_pool
from projections.postgres import apply_version
from schemas.codec import decode_version
from schemas.facts import PolicyChanged
from schemas.topics import Topics
from schemas.versions import PetVersion
from tests.conftest import TEST_PARTITIONS
from tests.integration.app_command import run_app
from tests.integration.generations_rig import FoldRig
from tests.integration.what_if_rig import PETS, PHOTOS, WHAT_IF, facts_of

SET = ",".join(f"{name}={value}" for name, value in WHAT_IF.items())


class World:
    """The rig with three pets folded, and their versions in Postgres."""

    def __init__(self, rig: FoldRig, pool: Any) -> None:
        self.rig = rig
        self._pool = pool

    async def policy(self, *options: str, ok: int = 0) -> tuple[dict[str, list[dict[str, Any]]], str]:
        """Step → its lines of JSON, and stderr."""
        done = await self.rig.command("policy", *options)
        assert done.returncode == ok, done.stderr
        steps: dict[str, list[dict[str, Any]]] = {}
        for line in map(json.loads, done.stdout.splitlines()):
            steps.setdefault(line["step"], []).append(line)
        return steps, done.stderr

    async def written(self) -> int:
        """How many facts the log holds that came from the command."""
        records = await self.rig.read(self.rig.topics.pet_log.name)
        return sum(("ce_source", b"/policy") in record.headers for record in records)

    async def versions(self) -> dict[str, list[PetVersion]]:
        """Pet → its versions, once all of the log is folded; they are in Postgres then."""
        await self.rig.until_folded()
        found: dict[str, list[PetVersion]] = {pet: [] for pet in PETS}
        for record in await self.rig.read(self.rig.topics.pet_versions.name):
            version = decode_version(record.value)
            found[version.pet_id].append(version)
            async with self._pool.acquire() as connection, connection.transaction():
                await apply_version(connection, version)
        return found


@pytest.fixture
async def world(kafka: KafkaServer, topics: Topics, migrated_url: str, tmp_path: Path) -> AsyncIterator[World]:
    rig = FoldRig(kafka.bootstrap_servers, topics, migrated_url, tmp_path)
    await rig.prepare()
    rig.keep_worker("1")
    try:
        for pet in PETS:
            await rig.write(topics.pet_log.name, *facts_of(pet, sealed=False))
        async with create_pool(migrated_url, size=2, statement_timeout_ms=20_000, ssl_mode="disable") as pool:
            yield World(rig, pool)
    finally:
        await rig.close()


async def test_a_policy_is_put_into_force_and_pets_are_folded_anew_under_it(world: World) -> None:
    before = await world.versions()
    assert {len(versions) for versions in before.values()} == {PHOTOS}
    told, _ = await world.policy()
    assert [each["since"] for each in told["in force"]] == [0] * TEST_PARTITIONS
    assert {each["policy"]["policy_id"] for each in told["in force"]} == {"mixture-1"}
    assert told["compared"] == [{"step": "compared", "agree": True}]

    asked = await asyncio.to_thread(run_app, world.rig.folder, "policy", "--set", SET, **world.rig.env)
    assert (asked.returncode, asked.stderr) == (1, "stopped: not confirmed\n")
    assert "put it into force on 3 partitions?" in asked.stdout
    assert await world.written() == 0

    policy_id = await half_written(world)
    told, _ = await world.policy("--recluster", ok=1)
    assert told["compared"] == [{"step": "compared", "agree": False}]
    told, _ = await world.policy("--set", SET, "--yes")
    assert [each["partition"] for each in told["written"]] == [0, 2], "where it had not come to"
    assert [each["policy"]["policy_id"] for each in told["in force"]] == [policy_id] * TEST_PARTITIONS

    await world.rig.write(world.rig.topics.pet_log.name, *facts_of(PETS[0], PHOTOS, 1, sealed=False))
    met = await world.versions()
    assert [each.policy_id for each in met[PETS[0]]] == ["mixture-1"] * PHOTOS + [policy_id], "from there on"
    assert {len(met[pet]) for pet in PETS[1:]} == {PHOTOS}

    told, _ = await world.policy("--set", SET, "--yes", "--recluster", "--rate", "1000")
    assert "written" not in told
    assert told["asked for"] == [{"step": "asked for", "pets": 3, "of": 3, "up_to": PETS[-1]}]
    anew = await world.versions()
    for pet in PETS:
        assert len(anew[pet]) == len(met[pet]) + 1
        last = anew[pet][-1]
        assert last.policy_id == policy_id
        assert min(each.member_count for each in last.clusters if each.member_count) >= WHAT_IF["min_cluster_size"]
    await world.policy("--recluster", "--rate", "1000")
    assert await world.versions() == anew, "the same again changes nothing"
    assert await world.written() == TEST_PARTITIONS + 2 * len(PETS)
    await world.policy("--recluster", "--run", "again", "--pet", PETS[1])
    once_more = await world.versions()
    assert {pet: len(once_more[pet]) - len(anew[pet]) for pet in PETS} == {PETS[0]: 0, PETS[1]: 1, PETS[2]: 0}
    await world.rig.audit()


async def half_written(world: World) -> str:
    """Write the change as the command does, to partition 1 alone; returns the policy's id."""
    settings, topic = world.rig.settings, world.rig.topics.pet_log.name
    async with log_partitions(settings.kafka_bootstrap_servers, topic) as (consumer, numbers):
        found = await policies_in_force(consumer, topic, numbers, Display(io.StringIO(), as_json=True))
    change = planned(found, parse([SET], lambda name: b""))
    producer = create_producer(settings, "test")
    await producer.start()
    behind = change.behind[1]
    await write_partition_fact(
        producer, TopicPartition(topic, 1), PolicyChanged(policy=change.policy),
        event_id=event_id(change, behind, topic), source="/policy",
    )  # fmt: skip
    await producer.stop()
    return change.policy.policy_id
