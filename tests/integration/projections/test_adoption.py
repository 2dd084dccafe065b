"""A database and a Kafka that do not belong together are told apart, and brought together by `log adopt`."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from pydantic import SecretStr

from app.backup.adopt import adopt, must_adopt
from app.backup.place import Place
from app.local.kafka import KafkaServer
from app.progress import Display
from app.settings import Settings
from projections.cache import AnswerCache
from projections.kafka_cluster import cluster_id
from projections.shadow import schema
from schemas.codec import encode_fact
from schemas.errors import StopProcess
from schemas.facts import ReclusterRequested
from schemas.headers import build_headers
from schemas.topics import Topics
from tests.conftest import TEST_PARTITIONS
from tests.integration.projections.rig import Rig
from tests.integration.projections.samples import version


@pytest.fixture
async def rig(kafka: KafkaServer, topics: Topics, pool: Any, cache: AnswerCache) -> AsyncIterator[Rig]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, acks="all")
    await producer.start()
    yield Rig(kafka.bootstrap_servers, topics, pool, cache, producer)
    await producer.stop()


@pytest.fixture
def place(rig: Rig, database_url: str) -> Place:
    return Place(
        Settings(
            kafka_bootstrap_servers=rig.bootstrap_servers,
            kafka_topic_prefix=rig.topics.prefix,
            kafka_partitions=TEST_PARTITIONS,
            database_url=SecretStr(database_url),
        )
    )


async def adopted(place: Place) -> str:
    out = io.StringIO()
    await adopt(place, Display(out, as_json=True))
    return out.getvalue()


async def refused(rig: Rig) -> str:
    """Why a projector does not start."""
    with pytest.raises(StopProcess) as stopped:
        await asyncio.wait_for(rig.projector().run(), 30)
    return str(stopped.value)


async def positions(rig: Rig) -> dict[tuple[str, str, int], int]:
    rows = await rig.pool.fetch("SELECT * FROM projection_positions")
    prefix = rig.topics.prefix
    return {(r["projection"], r["topic"].removeprefix(prefix), r["partition"]): r["next_offset"] for r in rows}


async def write_fact(rig: Rig, of: Any, partition: int = 0) -> None:
    """The fact in the log from which a version followed."""
    headers = build_headers(event_id="e", event_type="t", source="/test", time=of.time)
    value = encode_fact(ReclusterRequested(request_id="r"), event_id="e", time=of.time, pet_id=of.pet_id)
    await rig.producer.send_and_wait(
        rig.topics.pet_log.name, value, key=of.pet_id.encode(), partition=partition, headers=headers
    )


async def delete_all(rig: Rig, topic: str, before: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=rig.bootstrap_servers)
    await admin.start()
    await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=before)})
    await admin.close()


async def test_a_database_knows_its_kafka_and_refuses_another_until_it_is_adopted(rig: Rig, place: Place) -> None:
    first = version("101", 1, offset=0)
    await write_fact(rig, first)
    async with rig.running():
        await rig.send(first, partition=0)
        await rig.until_version("101", 1)
    own = await cluster_id(rig.bootstrap_servers)
    assert await rig.pool.fetchval("SELECT kafka_cluster FROM projection_generations") == own

    await rig.pool.execute("UPDATE projection_generations SET kafka_cluster = 'the-lost-one'")
    assert "belongs to Kafka the-lost-one" in await refused(rig)
    assert "log adopt" in await refused(rig)
    await adopted(place)
    async with rig.running():
        await rig.send(version("101", 2, offset=1), partition=0)
        await rig.until_version("101", 2)


@pytest.mark.parametrize("of", ["another Kafka", "other topics"])
async def test_a_rehearsal_leaves_a_database_of_others_alone(rig: Rig, place: Place, of: str) -> None:
    cluster = "another" if of == "another Kafka" else await cluster_id(rig.bootstrap_servers)
    topic = rig.topics.pet_versions.name if of == "another Kafka" else "prod.media.pet-versions"
    await rig.pool.execute("UPDATE projection_generations SET kafka_cluster = $1", cluster)
    await rig.pool.execute("INSERT INTO projection_positions VALUES ('postgres', $1, 0, 5)", topic)
    await rig.pool.execute("INSERT INTO rebuild_runs VALUES (8, 'built', 'code')")
    await must_adopt(place, Display(io.StringIO(), as_json=True))
    assert await rig.pool.fetchval("SELECT kafka_cluster FROM projection_generations") == cluster
    assert await rig.pool.fetchval("SELECT state FROM rebuild_runs") == "built"


async def test_an_import_marks_the_database_also_where_kafka_is_the_same(rig: Rig, place: Place) -> None:
    async with rig.running():
        await rig.send(version("101", 1), partition=0)
        await rig.until_version("101", 1)
    await rig.pool.execute("INSERT INTO rebuild_runs VALUES (7, 'swapped', 'code'), (8, 'built', 'code')")
    await rig.pool.execute(f"CREATE SCHEMA {schema.kept_name(7)}")
    await rig.pool.execute(f"CREATE SCHEMA {schema.shadow_name(8)}")
    out = io.StringIO()
    await must_adopt(place, Display(out, as_json=True))
    assert "made anew" in await refused(rig)
    states = {row["generation"]: row["state"] for row in await rig.pool.fetch("SELECT * FROM rebuild_runs")}
    assert states == {7: "given_up", 8: "given_up"}, "they name offsets that are gone"
    async with rig.pool.acquire() as connection:
        assert await schema.exists(connection, schema.kept_name(7)), "whose rows may be all that is left"
        assert not await schema.exists(connection, schema.shadow_name(8))
    assert schema.kept_name(7) in out.getvalue()


@pytest.mark.parametrize("anew", [True, False])
async def test_positions_come_to_lie_in_what_is_there(rig: Rig, place: Place, anew: bool) -> None:
    topics = rig.topics
    for projection, topic, position in (
        ("postgres", topics.pet_versions.name, 50),
        ("redis", topics.pet_versions.name, 48),
        ("postgres", topics.jobs_status.name, 2),
        ("postgres", topics.jobs.name, 9),
        ("postgres", topics.deadletter.name, 1),
    ):
        await rig.pool.execute("INSERT INTO projection_positions VALUES ($1, $2, 0, $3)", projection, topic, position)
    for filled in (topics.jobs, topics.jobs_status, topics.deadletter):
        for _ in range(3):
            await rig.producer.send_and_wait(filled.name, b"{}", partition=0)
    assert "log adopt" in await refused(rig)
    if anew:
        await rig.pool.execute("UPDATE projection_generations SET kafka_cluster = ''")
    await adopted(place)
    status = 0 if anew else 2
    assert await positions(rig) == {
        ("postgres", "media.pet-versions", 0): 0,
        ("redis", "media.pet-versions", 0): 0,
        ("postgres", "media.jobs.status", 0): status,
        ("postgres", "media.jobs", 0): 3,
        ("postgres", "media.deadletter", 0): 1,
    } | {key: 0 for key in await positions(rig) if key[2] != 0 or key[1] == "media.deadletter.actions"}
    assert await adopted(place) == (await adopted(place)), "a repeat changes nothing"


@pytest.mark.parametrize("beyond", ["the end", "another fact", "another pet's fact"])
async def test_what_postgres_knows_and_the_log_does_not_is_refused(rig: Rig, place: Place, beyond: str) -> None:
    """Passed over, the next version would be taken for one that is there."""
    first, second = version("101", 1, offset=0), version("101", 2, offset=1)
    await write_fact(rig, first)
    async with rig.running():
        await rig.send(first, second, partition=0)
        await rig.until_version("101", 2)
    if beyond != "the end":
        pet, time = ("101", first.time) if beyond == "another fact" else ("102", second.time)
        await write_fact(rig, version(pet, 2, time=time))
    await rig.pool.execute("UPDATE projection_generations SET kafka_cluster = ''")
    before = await positions(rig)
    told = "1 versions of 1 pets" if beyond == "the end" else r"different facts at offset 1"
    with pytest.raises(StopProcess, match=rf"{told}.*rebuild --swap"):
        await adopted(place)
    assert await positions(rig) == before
    assert "log adopt" in await refused(rig), "nobody writes meanwhile"


async def test_versions_that_the_topic_no_longer_has_are_not_passed_over(rig: Rig) -> None:
    async with rig.running():
        await rig.send(version("101", 1), partition=0)
        await rig.until_version("101", 1)
    await rig.send(version("101", 2), version("102", 1), version("101", 3), partition=0)
    await delete_all(rig, rig.topics.pet_versions.name, 3)
    told = await refused(rig)
    assert "begins at 3, but this database has read up to 1" in told
    assert "rebuild --swap" in told


async def test_commands_that_the_topic_no_longer_has_are_told_and_hold_up_nothing(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        await rig.producer.send_and_wait(rig.topics.jobs.name, b"{}", partition=0)
    await delete_all(rig, rig.topics.jobs.name, 3)
    async with rig.running():
        await rig.send(version("101", 1), partition=0)
        await rig.until_version("101", 1)
    assert "messages_deleted_unread" in capsys.readouterr().out
