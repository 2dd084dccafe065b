"""Purges over HTTP: asked for, pending, done; and a purged pet to those who read it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from app.local.kafka import KafkaServer
from projections.cache import AnswerCache
from schemas.commands import PURGE_PET_TYPE, PurgePet, decode_request
from schemas.headers import header
from schemas.topics import Topics
from tests.conftest import TEST_PARTITIONS
from tests.contract.web_rig import Api, Reply, Stores, nowhere, serving
from tests.integration.projections.purge_samples import PET, at, erased, project
from tests.integration.projections.samples import cluster, member, version

ASK = f"/internal/pets/{PET}/purge"
SAID = {"who": "ann", "why": "asked by the owner"}


@pytest.fixture
def stores(migrated_url: str, redis_url: str, kafka: KafkaServer, topics: Topics) -> Stores:
    return Stores(migrated_url, redis_url, kafka.bootstrap_servers, topics)


@pytest.fixture
async def api(stores: Stores, tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(stores, tmp_path) as running:
        await running.until_submitting()
        yield running


@pytest.fixture
async def reading(migrated_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """The API without Kafka."""
    async with serving(Stores(migrated_url, redis_url, nowhere(), Topics("none.")), tmp_path) as running:
        yield running


def data(reply: Reply) -> Any:
    return json.loads(reply.body)["data"]


def error(reply: Reply) -> Any:
    return json.loads(reply.body)["error"]


async def ask(api: Api, **body: Any) -> Reply:
    return await api.call("POST", ASK, json.dumps(SAID | body).encode())


async def sent(stores: Stores) -> list[ConsumerRecord]:
    consumer = AIOKafkaConsumer(bootstrap_servers=stores.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(stores.topics.jobs.name, number) for number in range(TEST_PARTITIONS)]
        total = sum((await consumer.end_offsets(partitions)).values())
        consumer.assign(partitions)
        records: list[ConsumerRecord] = []
        while len(records) < total:
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                records += batch
        return records
    finally:
        await consumer.stop()


async def test_a_purge_is_accepted_when_the_broker_has_the_command(api: Api, stores: Stores) -> None:
    reply = await ask(api)
    assert reply.status == 202
    accepted = data(reply)
    assert (accepted["status"], accepted["who"], accepted["removed"]) == ("pending", "ann", None)
    assert reply.headers["Location"] == f"/internal/pets/{PET}/purges/{accepted['purge_id']}"
    (record,) = await sent(stores)
    command = decode_request(record.value)
    assert isinstance(command, PurgePet)
    assert (record.key, header(record.headers, "ce_type")) == (PET.encode(), PURGE_PET_TYPE)
    assert header(record.headers, "ce_id") == command.id
    assert (command.purge_id, command.accepted_at) == (accepted["purge_id"], accepted["accepted_until"])


async def test_it_is_unknown_then_pending_then_a_receipt(api: Api, stores: Stores) -> None:
    place = (await ask(api, purge_id="p-1")).headers["Location"]
    unknown = await api.call("GET", place)
    assert (unknown.status, error(unknown)["code"]) == (404, "purge_not_found")
    (record,) = await sent(stores)
    command = decode_request(record.value)
    assert isinstance(command, PurgePet)

    await project(api.pool, version(PET, 1, (member("a", -1),)), command)
    pending = data(await api.call("GET", place))
    assert (pending["status"], pending["purged_at"], pending["why"]) == ("pending", None, SAID["why"])

    await project(api.pool, erased(1, "p-1", accepted_until=command.accepted_at))
    receipt = data(await api.call("GET", place))
    assert (receipt["status"], receipt["purged_at"], receipt["last_version"]) == ("purged", at(510), 1)
    removed = {name: rows for name, rows in receipt["removed"]["postgres"].items() if rows}
    assert removed == {"pet_clusters": 1, "cluster_members": 1}


async def test_a_known_purge_is_not_asked_for_again(api: Api, stores: Stores) -> None:
    await ask(api, purge_id="p-1")
    (record,) = await sent(stores)
    await project(api.pool, decode_request(record.value))
    again = await ask(api, purge_id="p-1", why="another reason")
    assert (again.status, data(again)["why"]) == (202, SAID["why"])
    assert len(await sent(stores)) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"why": ""}, "why"),
        ({"why": " "}, "why"),
        ({"who": ""}, "who"),
        ({"who": 1}, "who"),
        ({"purge_id": "a/b"}, "purge_id"),
        ({"purge_id": "a\n"}, "purge_id"),
        ({"when": "now"}, "when"),
    ],
)
async def test_what_is_not_valid_is_named(reading: Api, body: dict[str, Any], field: str) -> None:
    reply = await ask(reading, **body)
    assert (reply.status, error(reply)["code"], error(reply)["field"]) == (422, "invalid_body", field)


async def test_without_kafka_it_is_refused(reading: Api) -> None:
    reply = await ask(reading)
    assert (reply.status, error(reply)["code"]) == (503, "kafka_unavailable")
    bad = await reading.call("POST", "/internal/pets/a%20b/purge", json.dumps(SAID).encode())
    assert (bad.status, error(bad)["field"]) == (422, "pet_id")
    assert (await reading.call("POST", ASK, b"{}", token=None)).status == 401


async def test_a_purged_pet_is_none_until_it_has_a_new_version(reading: Api) -> None:
    routes = ("clusters", "clusters/latest", "clusters/2", "clusters/as-of?time=2026-11-21T07:49:26Z", "versions")
    await reading.project(version(PET, 1, (member("a", 0), member("b", 0)), (cluster(0, 2, "a"),)))
    await reading.project(version(PET, 2, (member("c", -1),)))
    statuses = [(await reading.call("GET", f"/internal/pets/{PET}/{route}")).status for route in routes]
    assert statuses == [200] * 5

    await project(reading.pool, erased(2))
    cache = AnswerCache(reading.redis, namespace="test.clusters", ttl_seconds=600)
    assert await cache.get(PET) is not None, "cached by the reads before"
    assert await cache.put_mark(PET, 1, 2)
    replies = [await reading.call("GET", f"/internal/pets/{PET}/{route}") for route in routes]
    assert [reply.status for reply in replies] == [404] * 5
    assert [error(reply)["code"] for reply in replies[1:]] == ["clusters_not_found"] * 4
    dropped = await reading.call("POST", f"/internal/pets/{PET}/invalidate")
    assert json.loads(dropped.body)["status"] == "noop"

    await reading.project(version(PET, 3, (member("new", -1),), time=at(600)))
    assert (await reading.call("GET", f"/internal/pets/{PET}/clusters")).headers["ETag"] == '"v3"'
    replies = [await reading.call("GET", f"/internal/pets/{PET}/{route}") for route in routes[2:]]
    assert [reply.status for reply in replies] == [410, 410, 200]
    assert [error(reply)["code"] for reply in replies[:2]] == ["version_purged"] * 2
