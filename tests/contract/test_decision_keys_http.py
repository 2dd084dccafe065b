"""Under which key a decision over HTTP is sealed: the one that embed has made, as the topic has it by then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from agents.pet_keys import PetKeys
from app.local.kafka import KafkaServer
from app.partitions import partition_of
from app.views.sealing import KEYS_FETCH_MS, CurrentKeys
from app.views.services import KafkaUnavailable
from schemas.pet_keys import Destroyed, PetKey, encode_key
from schemas.topics import Topics
from tests.conftest import TEST_PARTITIONS
from tests.contract.test_decisions_http import decide, error, facts_of, log_of, read
from tests.contract.web_rig import Api, Stores, serving
from tests.integration.projections.samples import cluster, eventually, member, version

PET, PHOTO = "101", "photo-of-the-garden"
DESTROYED = Destroyed(purge_id="purge-1", last_version=2, next_cluster=1)
Write = Callable[[PetKey], Awaitable[None]]


@pytest.fixture
def stores(migrated_url: str, redis_url: str, kafka: KafkaServer, topics: Topics) -> Stores:
    return Stores(migrated_url, redis_url, kafka.bootstrap_servers, topics)


@pytest.fixture
async def api(stores: Stores, tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(stores, tmp_path) as running:
        await running.until_submitting()
        members = (member(PHOTO, 0), member("b", 0))
        await running.project(version(PET, 1, members, (cluster(0, 2, PHOTO),)))
        yield running


@pytest.fixture
async def write(stores: Stores) -> AsyncIterator[Write]:
    """Writes keys as embed and fold do."""
    producer = AIOKafkaProducer(bootstrap_servers=stores.bootstrap_servers, acks="all")
    await producer.start()

    async def written(key: PetKey) -> None:
        partition = partition_of(key.pet_id, TEST_PARTITIONS)
        topic = stores.topics.pet_keys.name
        await producer.send_and_wait(topic, encode_key(key), key=key.key_id.encode(), partition=partition)

    yield written
    await producer.stop()


def key(number: int, pet_id: str = PET) -> PetKey:
    return PetKey(key_id=f"{number:032x}", pet_id=pet_id, secret=bytes([number] * 32))


async def rename(api: Api) -> int:
    reply = await decide(api, expected_version=1)
    return reply.status


async def test_the_log_holds_neither_names_nor_reasons_nor_image_ids(api: Api, stores: Stores, write: Write) -> None:
    await write(key(1))
    await write(key(2, "202"))
    apart = {"cluster": "101-cluster-0", "image_ids": [PHOTO]}
    assert await rename(api) == 202
    asked: dict[str, Any] = {"kind": "not_here", "arguments": apart, "expected_version": 1, "why": "that is the garden"}
    assert (await decide(api, **asked)).status == 202
    one, other = await log_of(stores)
    said = (b"Rex", b"ann", b"garden", b"cluster", b"image_ids")
    assert not [word for record in (one, other) for word in said if word in record.value]
    # With the key they are there, so that the words were looked for in what says them.
    found = [(envelope.key_id, fact.who, fact.arguments) for envelope, fact in await facts_of(stores)]
    assert found == [
        (key(1).key_id, "ann", {"cluster": 0, "name": "Rex"}),
        (key(1).key_id, "ann", {"cluster": 0, "image_ids": [PHOTO]}),
    ]
    assert len(await read(stores, stores.topics.pet_keys.name)) == 2, "it needed no key of its own"


class Slow(AIOKafkaConsumer):
    """One that is behind what stands in the topic."""

    async def getmany(self, *partitions: Any, **options: Any) -> Any:
        """As its base's, later."""
        await asyncio.sleep(0.3)
        return await super().getmany(*partitions, **options)


async def test_a_key_that_was_made_or_destroyed_since_is_known_at_once(
    api: Api, stores: Stores, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.pet_keys.AIOKafkaConsumer", Slow)
    await write(key(1))
    assert await rename(api) == 202
    await write(key(2))
    assert await rename(api) == 202
    await write(msgspec.structs.replace(key(2), secret=b"", destroyed=DESTROYED))
    assert await rename(api) == 202
    assert await key_ids(stores) == [key(number).key_id for number in (1, 2, 1)]

    # The purge is done but for the rows of Postgres, and nothing has come since: whatever is decided, nobody has it.
    await write(msgspec.structs.replace(key(1), secret=b"", destroyed=DESTROYED))
    reply = await decide(api, expected_version=1)
    assert (reply.status, error(reply)["code"]) == (404, "clusters_not_found")
    assert len(await log_of(stores)) == 3
    await write(key(3))
    assert await rename(api) == 202
    assert (await key_ids(stores))[-1] == key(3).key_id


async def key_ids(stores: Stores) -> list[str]:
    return [msgspec.msgpack.decode(record.value)["key_id"] for record in await log_of(stores)]


async def test_a_pet_whose_facts_are_older_than_keys_gets_one_that_the_next_decision_uses(
    api: Api, stores: Stores
) -> None:
    assert [await rename(api), await rename(api)] == [202, 202]
    (record,) = await read(stores, stores.topics.pet_keys.name)
    assert record.partition == partition_of(PET, TEST_PARTITIONS)
    assert await key_ids(stores) == [record.key.decode()] * 2


async def test_keys_that_cannot_be_read_are_read_as_soon_as_they_can(stores: Stores) -> None:
    topic = f"{stores.topics.prefix}keys-that-come-late"
    reader = PetKeys(bootstrap_servers=stores.bootstrap_servers, topic=topic, fetch_ms=KEYS_FETCH_MS)
    keys = CurrentKeys(reader, timeout=2)
    made: list[PetKey] = []

    async def publish(key: PetKey) -> None:
        made.append(key)

    async def current() -> PetKey | None:
        try:
            return await keys.current(PET, "", publish)
        except KafkaUnavailable:
            return None

    try:
        with pytest.raises(KafkaUnavailable, match="keys not read"):
            await keys.current(PET, "", publish)
        admin = AIOKafkaAdminClient(bootstrap_servers=stores.bootstrap_servers)
        await admin.start()
        await admin.create_topics([NewTopic(topic, 1, 1)])
        await admin.close()
        found = await eventually(current)
        assert [found] == made
        many = await asyncio.gather(*(keys.current(PET, "", publish) for _ in range(20)))
        assert {each.key_id for each in many if each is not None} == {made[0].key_id}
        assert len(made) == 1
    finally:
        await keys.stop()
        await keys.stop()
