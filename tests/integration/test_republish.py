"""Snapshots are sent again as the fold has sent them, and none that is older stays the last of its pet."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from redis.asyncio import Redis

from app.local.kafka import KafkaServer
from app.progress import Display
from app.rebuild import republish
from app.rebuild.place import Place
from app.rebuild.republish import Republish
from projections.cache import AnswerCache
from schemas.errors import StopProcess
from schemas.headers import header
from schemas.ids import message_id
from schemas.topics import Topics
from tests.integration.generations_rig import FoldRig, partition_of

PETS = 6


@pytest.fixture
async def rig(kafka: KafkaServer, topics: Topics, database_url: str, tmp_path: Path) -> AsyncIterator[FoldRig]:
    made = FoldRig(kafka.bootstrap_servers, topics, database_url, tmp_path)
    await made.prepare()
    await made.publish(40, pets=PETS)
    await made.fold_without_workers()
    yield made
    await made.close()


def work(rig: FoldRig, only_pet: str = "", rate: float = 1e6) -> tuple[Republish, Any]:
    out = io.StringIO()
    cache = AnswerCache(Redis(), namespace="t", ttl_seconds=1)
    place = Place(cache, rig.env["DATABASE_URL"], rig.env["KAFKA_BOOTSTRAP_SERVERS"], rig.topics, rig.folder, 1)
    made = Republish(rig.settings, place, Display(out, as_json=True), rate, only_pet)
    return made, lambda: [json.loads(line) for line in out.getvalue().splitlines()]


async def sent(rig: FoldRig) -> list[ConsumerRecord]:
    return await rig.read(rig.topics.clusters_updated.name)


async def current(rig: FoldRig) -> dict[str, tuple[str, bytes]]:
    """Pet → id and bytes of its last snapshot, as the log leads to it."""
    outputs = (await rig.offline()).outputs
    return {pet: (output.id, output.value) for pet, output in outputs if output.channel == "updated"}


async def test_current_snapshots_are_sent_byte_for_byte_under_their_ids(rig: FoldRig) -> None:
    made, steps = work(rig)
    assert await made.run() == PETS
    records = await sent(rig)
    assert {r.key.decode(): (header(r.headers, "ce_id"), r.value) for r in records} == await current(rig)
    for record in records:
        assert record.partition == partition_of(record.key.decode())
        assert header(record.headers, "ce_time") == json.loads(record.value)["updated_at"]
        assert header(record.headers, "ce_type") == "media.ClustersUpdated.v1"
    assert steps()[-1] == {"step": "sent again", "topic": rig.topics.clusters_updated.name, "messages": PETS}
    assert await rig.read(rig.topics.pet_versions.name) == []

    one, _ = work(rig, "pet-2")
    assert await one.run() == 1
    times = Counter(record.key for record in await sent(rig))
    assert times == {b"pet-%d" % number: 1 + (number == 2) for number in range(PETS)}
    nobody, _ = work(rig, "nobody")
    assert await nobody.run() == 0


async def test_a_pet_that_moves_meanwhile_is_sent_once_more(rig: FoldRig, monkeypatch: pytest.MonkeyPatch) -> None:
    send = Republish._send
    moved: list[bool] = []

    async def moving(self: Republish, *arguments: Any) -> None:
        if not moved:
            moved.append(True)  # the fold is quicker: its newer snapshot stands before ours
            await rig.publish(PETS, pets=PETS)
            await rig.fold_without_workers()
        await send(self, *arguments)

    monkeypatch.setattr(Republish, "_send", moving)
    made, _ = work(rig)
    assert await made.run() > PETS
    last = {record.key.decode(): record.value for record in await sent(rig)}
    assert last == {pet: value for pet, (_, value) in (await current(rig)).items()}


async def test_a_pet_that_is_purged_meanwhile_ends_with_its_tombstone(
    rig: FoldRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Republish._send
    purged: list[str] = []

    async def purging(self: Republish, producer: Any, partition: int, pet: bytes, *last: Any) -> None:
        if not purged:
            purged.append(pet.decode())  # the fold is quicker: its tombstone stands before our snapshot
            await rig.purge(purged[0])
            await rig.fold_without_workers()
        await send(self, producer, partition, pet, *last)

    monkeypatch.setattr(Republish, "_send", purging)
    made, _ = work(rig)
    assert await made.run() == PETS + 1
    last = {record.key.decode(): record for record in await sent(rig)}
    assert [pet for pet, record in last.items() if record.value is None] == purged
    assert header(last[purged[0]].headers, "ce_id") == message_id("gone", purged[0], "purge-1")


async def test_a_snapshot_that_came_behind_a_tombstone_is_mended(rig: FoldRig) -> None:
    assert await work(rig)[0].run() == PETS
    await rig.purge("pet-2")
    await rig.fold_without_workers()
    assert await work(rig)[0].run() == PETS
    assert [record.key for record in await sent(rig) if record.value is None] == [b"pet-2"]


async def test_killed_in_the_middle_it_goes_on(rig: FoldRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(republish, "BATCH", 1)
    send = Republish._send
    left = iter(range(3))

    async def cut(self: Republish, *arguments: Any) -> None:
        if next(left, None) is None:
            raise ConnectionResetError
        await send(self, *arguments)

    monkeypatch.setattr(Republish, "_send", cut)
    with pytest.raises(ConnectionResetError):
        await work(rig)[0].run()
    monkeypatch.setattr(Republish, "_send", send)
    assert await work(rig)[0].run() == PETS - 3
    assert {record.key.decode() for record in await sent(rig)} == {f"pet-{number}" for number in range(PETS)}


async def test_it_waits_for_the_fold_and_says_so(rig: FoldRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(republish, "COMMIT_SECONDS", 0.0)
    await rig.publish(PETS, pets=PETS)
    with pytest.raises(StopProcess, match=r"the fold stands at .* events before the end"):
        await work(rig)[0].run()
