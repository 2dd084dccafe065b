"""`python -m app purge`: what it sends, what it prints, and its exit code."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from app.local.kafka import KafkaServer
from app.local.ports import HOST, free_port
from app.partitions import partition_of
from projections.pool import create_pool
from projections.purges import PurgeRecords
from schemas.commands import PurgePet, decode_request
from schemas.pet_keys import PetKey, encode_key
from schemas.topics import Topics
from tests.conftest import TEST_PARTITIONS
from tests.integration.app_command import run_app
from tests.integration.projections.purge_samples import PET, erased, fill, project
from tests.integration.projections.purge_samples import command as a_command

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
async def pool(migrated_url: str) -> AsyncIterator[Any]:
    async with create_pool(migrated_url, size=2, statement_timeout_ms=20_000, ssl_mode="disable") as opened:
        yield opened


@pytest.fixture
def command(tmp_path: Path, database_url: str) -> Command:
    def run(*arguments: str, bootstrap: str = "", prefix: str = "", **more: str) -> Any:
        return run_app(
            tmp_path,
            "purge",
            *arguments,
            LOGNAME="operator",
            DATABASE_URL=database_url,
            KAFKA_BOOTSTRAP_SERVERS=bootstrap or f"{HOST}:{free_port()}",
            KAFKA_TOPIC_PREFIX=prefix,
            **more,
        )

    return run


async def commands(kafka: KafkaServer, topics: Topics) -> list[PurgePet]:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topics.jobs.name, number) for number in range(TEST_PARTITIONS)]
        total = sum((await consumer.end_offsets(partitions)).values())
        consumer.assign(partitions)
        found: list[PurgePet] = []
        while len(found) < total:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += [purge for each in records if isinstance(purge := decode_request(each.value), PurgePet)]
        return found
    finally:
        await consumer.stop()


async def test_a_pet_of_which_nothing_is_known_is_purged_only_when_that_is_meant(
    command: Command, kafka: KafkaServer, topics: Topics, pool: Any
) -> None:
    broker = {"bootstrap": kafka.bootstrap_servers, "prefix": topics.prefix}
    done = command("typo", "--why", "asked", **broker)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing is known of typo: nothing was purged" in done.stderr
    assert await commands(kafka, topics) == []
    assert command("typo", "--why", "asked", "--even-unknown", **broker).returncode == 0
    assert [purge.pet_id for purge in await commands(kafka, topics)] == ["typo"]


@pytest.mark.parametrize("told_by", ["key", "command"])
async def test_a_pet_that_is_not_projected_yet_is_known(
    command: Command, kafka: KafkaServer, topics: Topics, pool: Any, told_by: str
) -> None:
    key = PetKey(key_id="k1", pet_id=PET, secret=bytes(32))
    sent = {
        "key": (topics.pet_keys.name, b"k1", encode_key(key), partition_of(PET, 3)),
        "command": (topics.jobs.name, PET.encode(), msgspec.json.encode(a_command()), None),
    }
    topic, name, value, partition = sent[told_by]
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers)
    await producer.start()
    await producer.send_and_wait(topic, value, key=name, partition=partition)
    await producer.stop()
    known_to = {"KAFKA_PARTITIONS": str(TEST_PARTITIONS)}
    done = command(PET, "--why", "asked", bootstrap=kafka.bootstrap_servers, prefix=topics.prefix, **known_to)
    assert (done.returncode, done.stderr) == (0, "")


async def test_a_purge_that_was_not_confirmed_is_repeated_by_the_command_that_is_printed(
    command: Command, kafka: KafkaServer, topics: Topics, pool: Any
) -> None:
    await fill(pool, versions=2)
    done = command(PET, "--why", "asked by 'ann'")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    said, _, again = done.stderr.partition(" with: ")
    assert re.match(r"stopped: Kafka at KAFKA_BOOTSTRAP_SERVERS=\S+ did not confirm \(", said)
    purge_id = said.rpartition(" ")[2]
    words = shlex.split(again)
    assert words[:4] == ["python", "-m", "app", "purge"]
    for _ in range(2):
        done = command(*words[4:], bootstrap=kafka.bootstrap_servers, prefix=topics.prefix)
        assert done.returncode == 0, done.stderr
    purges = [(each.purge_id, each.who, each.why) for each in await commands(kafka, topics)]
    assert set(purges) == {(purge_id, "operator", "asked by 'ann'")}


async def test_it_asks_and_says_what_it_has_asked_for(
    command: Command, kafka: KafkaServer, topics: Topics, pool: Any
) -> None:
    await fill(pool, versions=2)
    done = command(PET, "--why", "asked", "--json", bootstrap=kafka.bootstrap_servers, prefix=topics.prefix)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    (purge,) = await commands(kafka, topics)
    assert (purge.pet_id, purge.who, purge.why) == (PET, "operator", "asked")
    assert (said["status"], said["purge_id"], said["accepted_until"]) == ("pending", purge.purge_id, purge.accepted_at)


async def test_a_purge_that_is_done_is_shown_and_not_asked_for_again(command: Command, pool: Any) -> None:
    """Without a broker: nothing needs one."""
    await fill(pool, versions=3)
    await project(pool, erased(3))
    await PurgeRecords(pool).note_cache_removed(PET)
    done = command(PET, "--why", "again", "--purge-id", "purge-1", "--wait")
    assert done.returncode == 0, done.stderr
    assert f"purge purge-1 of {PET}: purged" in done.stdout
    lines = [line.split() for line in done.stdout.replace("│", " ").splitlines()]
    assert ["Postgres", "pet_clusters", "3"] in lines
    assert done.stdout.endswith("the next version is 4\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((PET,), "--why is needed"),
        ((PET, "--why", " "), "--why is needed"),
        (("a/b", "--why", "x"), "pet_id: must be"),
        ((PET, "--why", "x", "--purge-id", "a b"), "--purge-id: must be"),
        ((PET, "--why", "x" * 5000), "--why: has 5000 characters"),
        ((PET, "--check", "--why", "x"), "--check only looks"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(command: Command, arguments: tuple[str, ...], said: str) -> None:
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")
    assert said in done.stderr
