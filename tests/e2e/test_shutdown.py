"""SIGTERM: a role ends what it has in hand and repeats nothing when it starts again; it never hangs."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.local.kafka import SHORT_LIVED, KafkaServer
from app.local.ports import HOST
from app.local.postgres import PostgresServer
from app.local.redis import RedisServer
from schemas.headers import header
from tests.e2e.conftest import album_ids, make_service
from tests.e2e.kafka_log import read_topic
from tests.e2e.service import ROLES, Service, wait_for

PETS = ("rex", "mia", "tom")
JOBS_A_ROUND = 2
SHUTDOWN_SECONDS = 5
END_SECONDS = 60


def publish_round(service: Service, number: int) -> list[str]:
    """Jobs of all pets at once; returns their ids."""
    ids = album_ids()
    jobs = []
    for pet in PETS:
        for turn in range(number * JOBS_A_ROUND, (number + 1) * JOBS_A_ROUND):
            jobs.append(f"{pet}-{turn}")
            service.publish(pet, jobs[-1], ids[turn * 4 : turn * 4 + 4])
    return jobs


def metric(service: Service, role: str, name: str) -> float:
    """The sum of a role's counter."""
    with urllib.request.urlopen(f"http://{HOST}:{service.ports[role]}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return sum(float(value) for value in re.findall(rf"^{name}(?:_total)?(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE))


def last_reason(service: Service, role: str) -> str:
    """What the role said when it ended itself."""
    lines = [line for line in service.log(role).splitlines() if '"aborted"' in line]
    reason: str = json.loads(lines[-1])["reason"]
    return reason


async def repeated_ids(service: Service) -> dict[str, list[str]]:
    """By topic, the ids of messages that stand in it more than once."""
    topics = service.topics
    found = {}
    for topic in (topics.pet_log, topics.pet_versions, topics.clusters_updated, topics.jobs_status):
        records = await read_topic(service.bootstrap_servers, topic.name)
        counts = Counter(header(record.headers, "ce_id") or "" for record in records)
        assert records
        found[topic.name] = [f"{identity} × {count}" for identity, count in counts.items() if count > 1]
    return found


async def test_workers_that_are_stopped_in_mid_stream_repeat_nothing(stopped_service: Service) -> None:
    service = stopped_service
    service.start()
    for number in range(0, 4, 2):
        jobs = publish_round(service, number)
        await service.job(jobs[0])  # the stream is in full flow
        codes = await asyncio.gather(*(asyncio.to_thread(service.stop, role) for role in ("embed", "fold")))
        assert codes == [0, 0], service.log("embed") + service.log("fold")
        jobs += publish_round(service, number + 1)
        service.start("embed", "fold")
        for job in jobs:
            assert (await service.job(job))["status"] == "succeeded"
        assert metric(service, "fold", "media_cluster_events_folded") > 0
        assert metric(service, "fold", "media_cluster_events_repeated") == 0
    repeated = await repeated_ids(service)
    assert not any(repeated.values()), repeated


@pytest.fixture
def silent_storage() -> Iterator[socket.socket]:
    """A storage service that takes requests and never answers."""
    with socket.create_server((HOST, 0)) as listener:
        listener.settimeout(END_SECONDS)
        yield listener


def settings_of_silence(listener: socket.socket) -> dict[str, str]:
    url = f"http://{HOST}:{listener.getsockname()[1]}"
    return {"IMAGE_SOURCE": "", "STORAGE_SERVICE_URL": url, "IMAGE_TIMEOUT_SECONDS": "600"}


@pytest.mark.parametrize("ended_by", ["a second SIGTERM", "the deadline"])
async def test_a_worker_that_cannot_finish_is_ended_and_loses_nothing(
    stopped_service: Service, silent_storage: socket.socket, ended_by: str
) -> None:
    """Its command waits for an image that never comes; the next worker has another storage and takes it up."""
    service = stopped_service
    seconds = 600 if ended_by == "a second SIGTERM" else SHUTDOWN_SECONDS
    service.settings = {**settings_of_silence(silent_storage), "SHUTDOWN_SECONDS": str(seconds)}
    service.start()
    service.publish("rex", "rex-0", album_ids()[:4])
    with (await asyncio.to_thread(silent_storage.accept))[0]:
        embed = service.processes.pop("embed")
        embed.terminate()
        if ended_by == "a second SIGTERM":
            await asyncio.to_thread(
                wait_for, lambda: '"stopping"' in service.log("embed"), "the first SIGTERM to arrive"
            )
            embed.terminate()
        assert await asyncio.to_thread(embed.wait, END_SECONDS) == 70
    assert ("a second SIGTERM" if seconds == 600 else "not stopped within SHUTDOWN_SECONDS") in last_reason(
        service, "embed"
    )
    service.settings = {}
    service.start("embed")
    assert (await service.job("rex-0"))["status"] == "succeeded"


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[KafkaServer]:
    """A broker of this test's own: it dies."""
    server = KafkaServer(tmp_path / "kafka", java_options=SHORT_LIVED)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def service_of_own_kafka(
    tmp_path: Path, own_kafka: KafkaServer, redis_server: RedisServer, postgres: PostgresServer, album: Path
) -> Iterator[Service]:
    yield from make_service(tmp_path / "service", own_kafka, redis_server, postgres, album)


async def test_every_role_ends_in_time_while_the_broker_is_dead(
    own_kafka: KafkaServer, service_of_own_kafka: Service
) -> None:
    """With work in hand where there can be any. After the restart of everything, all jobs end."""
    service = service_of_own_kafka
    service.settings = {"SHUTDOWN_SECONDS": str(SHUTDOWN_SECONDS)}
    service.start()
    jobs = publish_round(service, 0)
    await service.job(jobs[0])
    await asyncio.to_thread(own_kafka.kill)
    jobs += publish_round(service, 1)
    processes = {role: service.processes.pop(role) for role in ROLES}
    for process in processes.values():
        process.terminate()
    codes = {role: await asyncio.to_thread(process.wait, END_SECONDS) for role, process in processes.items()}
    assert set(codes.values()) <= {0, 70}, codes
    assert 70 in (codes["embed"], codes["fold"]), f"none of them had work in hand: {codes}"
    await asyncio.to_thread(own_kafka.start)
    service.start()
    for job in jobs:
        assert (await service.job(job))["status"] == "succeeded"
