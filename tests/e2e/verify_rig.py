"""Runs a verification on a service, and reads what it is compared with. Used by test_verify."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from pydantic import SecretStr

from app.faust_apps import changelog_topic, group_id
from app.partitions import partition_of
from app.settings import Settings
from app.verify.work import Job, verify_partition
from projections.offsets import LogOffsets
from projections.verify.findings import Finding
from projections.verify.frontier import Settled
from projections.verify.outcome import Task, Verified
from schemas.codec import decode_fact
from tests.e2e.kafka_log import Keys, read_topic
from tests.e2e.service import REPOSITORY, Service
from tests.integration.projections.samples import eventually

PARTITIONS: Final = 3


def settings_of(service: Service, folder: Path) -> Settings:
    own = service.env("web")
    return Settings(
        kafka_bootstrap_servers=own["KAFKA_BOOTSTRAP_SERVERS"],
        kafka_topic_prefix=own["KAFKA_TOPIC_PREFIX"],
        redis_url=SecretStr(own["REDIS_URL"]),
        database_url=SecretStr(own["DATABASE_URL"]),
        namespace=own["NAMESPACE"],
        data_dir=folder,
    )


def task_of(service: Service, folder: Path, pet: str) -> Task:
    settings, topics = settings_of(service, folder), service.topics
    return Task(
        partition=partition_of(pet, PARTITIONS),
        log=topics.pet_log.name,
        versions=topics.pet_versions.name,
        changelog=changelog_topic(settings, "fold").name,
        group=group_id(settings, "fold"),
        folder=folder / "scratch",
        only=pet,
        pause_seconds=0.2,
    )


async def verified(service: Service, folder: Path, pet: str) -> Verified:
    return await verify_partition(Job(settings_of(service, folder), task_of(service, folder, pet)))


async def command(service: Service, folder: Path, *options: str, **variables: str) -> tuple[int, list[Any], str]:
    """Exit code, lines of JSON, and stderr of the command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "verify", "--json", "--processes", "1", *options),
        env=service.env("web") | {"DATA_DIR": str(folder), **variables},
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, [json.loads(line) for line in out.splitlines()], errors.decode()


async def settle(service: Service, folder: Path, pet: str) -> None:
    """Until fold and projector have passed what stands in the pet's partition of the log, the cache included."""
    task = task_of(service, folder, pet)
    log = TopicPartition(task.log, task.partition)
    versions = TopicPartition(task.versions, task.partition)
    connection = await asyncpg.connect(service.database_url)
    try:
        async with LogOffsets(service.bootstrap_servers) as broker:
            end = (await broker.ends([log]))[log]
            settled = Settled(log, versions, task.group)

            async def reached() -> bool:
                await settled.checkpoint(broker)
                passed = [await settled.projected(connection), await settled.cached(connection)]
                return min(passed) >= end

            await eventually(reached)
    finally:
        await connection.close()


async def events_of(service: Service, pet: str) -> list[tuple[int, str]]:
    """Offset and id of each event of the pet, from the log itself."""
    log = await read_topic(service.bootstrap_servers, service.topics.pet_log.name)
    return [(each.offset, decode_fact(each.value, Keys())[0].event_id) for each in log if each.key == pet.encode()]


async def only_finding(service: Service, folder: Path, pet: str) -> Finding:
    (found,) = (await verified(service, folder, pet)).findings
    return found


async def send(service: Service, topic: str, pet: str, key: bytes, value: bytes | None) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=service.bootstrap_servers, acks="all")
    await producer.start()
    try:
        await producer.send_and_wait(topic, value, key=key, partition=partition_of(pet, PARTITIONS))
    finally:
        await producer.stop()


async def everything(service: Service, database: Any) -> dict[str, Any]:
    """What stands anywhere: ends of topics, groups, every row with the transaction that wrote it, every key."""
    admin = AIOKafkaAdminClient(bootstrap_servers=service.bootstrap_servers)
    consumer = AIOKafkaConsumer(bootstrap_servers=service.bootstrap_servers)
    await admin.start()
    await consumer.start()
    try:
        names = sorted(name for name in await admin.list_topics() if name.startswith(service.topics.prefix))
        ends = await consumer.end_offsets([TopicPartition(name, n) for name in names for n in range(PARTITIONS)])
        groups = sorted(await admin.list_consumer_groups())
    finally:
        await consumer.stop()
        await admin.close()
    tables = await database.fetch(
        "SELECT schemaname || '.' || tablename AS name FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
    )
    rows = {
        each["name"]: await database.fetchval(
            f"SELECT md5(string_agg(t.xmin::text || t::text, '' ORDER BY t.ctid)) FROM {each['name']} AS t"
        )
        for each in tables
    }
    keys: Any = sorted(service.redis.scan_iter(f"{service.namespace}:*"))
    ttls = [service.redis.expiretime(key) for key in keys]
    values = [service.redis.dump(key) for key in keys]
    return {"ends": ends, "groups": groups, "rows": rows, "keys": keys, "ttls": ttls, "values": values}
