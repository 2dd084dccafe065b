"""Keys on a real broker: written by one process, found by another at once, destroyed for all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from agents.pet_keys import PetKeys, open_pet_keys
from app.local.kafka import KafkaServer
from schemas.errors import StopProcess
from schemas.pet_keys import Destroyed, PetKey, encode_key
from schemas.topics import Topics
from tests.integration.bridge_rig import eventually

SECRET = bytes(range(32))


@dataclass
class Rig:
    servers: str
    topics: Topics
    producer: Any

    async def write(self, key: PetKey, partition: int = 0) -> None:
        await self.producer.send_and_wait(
            self.topics.pet_keys.name, encode_key(key), key=key.key_id.encode(), partition=partition
        )

    def keys(self) -> Any:
        return open_pet_keys(self.servers, self.topics.pet_keys.name)


@pytest.fixture
async def rig(kafka: KafkaServer, topics: Topics) -> AsyncIterator[Rig]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, acks="all")
    await producer.start()
    yield Rig(kafka.bootstrap_servers, topics, producer)
    await producer.stop()


def key(number: int, pet_id: str = "rex") -> PetKey:
    return PetKey(key_id=f"k{number}", pet_id=pet_id, secret=SECRET)


def destroyed(number: int) -> PetKey:
    return PetKey(key_id=f"k{number}", pet_id="rex", destroyed=Destroyed(purge_id="p", last_version=3, next_cluster=1))


async def test_what_the_topic_holds_is_known_from_the_start(rig: Rig) -> None:
    await rig.write(key(1), 0)
    await rig.write(key(2, "bella"), 2)
    await rig.write(key(3), 0)
    async with rig.keys() as keys:
        assert keys.find("k2") == key(2, "bella")
        assert keys.of_pet("rex") == [key(1), key(3)]


async def test_of_one_partition_alone_its_keys_are_known_and_followed(rig: Rig) -> None:
    await rig.write(key(1), 0)
    await rig.write(key(2), 2)
    async with open_pet_keys(rig.servers, rig.topics.pet_keys.name, partition=2) as keys:
        assert keys.of_pet("rex") == [key(2)]
        await rig.write(key(3), 2)
        await keys.need(["k3"])
        assert keys.find("k3") == key(3)
        with pytest.raises(StopProcess, match="lacks key 'k1'"):
            keys.find("k1")
    with pytest.raises(StopProcess, match="is not there"):
        async with open_pet_keys(rig.servers, "no-such-topic", partition=0):
            pass


async def test_many_keys_may_take_longer_than_a_partition_may_stand_still(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.pet_keys.STILL_SECONDS", 2.0)
    for number in range(8):
        await rig.write(key(number))
    poll = AIOKafkaConsumer.getmany

    async def slowly(self: Any, *_: Any, **options: Any) -> Any:
        await asyncio.sleep(0.35)
        return await poll(self, **options, max_records=1)

    monkeypatch.setattr(AIOKafkaConsumer, "getmany", slowly)
    async with rig.keys() as keys:
        assert len(keys.of_pet("rex")) == 8


async def test_a_key_that_is_written_later_is_found_when_it_is_needed(rig: Rig) -> None:
    async with rig.keys() as keys:
        await rig.write(key(1))
        await keys.need(["k1"])
        assert keys.find("k1") == key(1)


async def test_a_key_that_nobody_wrote_stops_the_reader(rig: Rig) -> None:
    async with rig.keys() as keys:
        await keys.need(["k1"])
        with pytest.raises(StopProcess, match="lacks key 'k1'"):
            keys.find("k1")


async def test_a_destroyed_key_is_soon_gone_everywhere_and_does_not_come_back(rig: Rig) -> None:
    await rig.write(key(1))
    async with rig.keys() as keys:
        assert keys.find("k1").secret == SECRET
        await rig.write(destroyed(1))
        await eventually(lambda: keys.find("k1") == destroyed(1))
        keys.add(key(1))
        assert keys.find("k1") == destroyed(1)
    await rig.write(key(1))
    async with rig.keys() as keys:
        assert keys.find("k1") == destroyed(1)


async def test_a_record_that_is_no_key_is_passed_over(rig: Rig) -> None:
    await rig.producer.send_and_wait(rig.topics.pet_keys.name, b"\xc1", key=b"k0", partition=0)
    await rig.producer.send_and_wait(rig.topics.pet_keys.name, None, key=b"k0", partition=0)
    await rig.write(key(1))
    async with rig.keys() as keys:
        assert keys.find("k1") == key(1)


async def test_it_starts_when_it_is_needed_and_can_be_tried_again(rig: Rig) -> None:
    away = PetKeys(bootstrap_servers="127.0.0.1:1", topic=rig.topics.pet_keys.name)
    for _ in range(2):
        with pytest.raises(KafkaError):
            await away.need(["k1"])
    await rig.write(key(1))
    lazy = PetKeys(bootstrap_servers=rig.servers, topic=rig.topics.pet_keys.name)
    await lazy.need([])
    await lazy.need(["k1"])
    assert lazy.find("k1") == key(1)
    await lazy.stop()
