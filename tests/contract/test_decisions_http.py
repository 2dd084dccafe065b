"""Users' decisions over HTTP: into the log, waited for, refused early or late, told again, listed; Kafka is real, and
what the fold would say is written to Postgres as the projector does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from app.local.kafka import KafkaServer
from app.partitions import partition_of
from schemas.codec import Envelope, decode_fact
from schemas.facts import DecisionSubmitted
from schemas.headers import header
from schemas.pet_keys import PET_KEY_TYPE, PetKey, decode_key
from schemas.topics import Topics
from tests.conftest import TEST_PARTITIONS
from tests.contract.web_rig import Api, Reply, Stores, nowhere, serving
from tests.integration.projections.purge_samples import project
from tests.integration.projections.samples import cluster, eventually, member, settled, version

PET = "101"
PLACE = f"/internal/pets/{PET}/decisions"
RENAME: dict[str, Any] = {
    "kind": "rename",
    "arguments": {"cluster": "101-cluster-0", "name": "Rex"},
    "expected_version": 2,
    "who": "ann",
    "why": "it is Rex",
}


@pytest.fixture
def stores(migrated_url: str, redis_url: str, kafka: KafkaServer, topics: Topics) -> Stores:
    return Stores(migrated_url, redis_url, kafka.bootstrap_servers, topics)


@pytest.fixture
async def api(stores: Stores, tmp_path: Path) -> AsyncIterator[Api]:
    """The API with an album; it does not wait for long."""
    async with serving(stores, tmp_path) as running:
        await running.until_submitting()
        await fill(running)
        yield running


@pytest.fixture
async def patient(stores: Stores, tmp_path: Path) -> AsyncIterator[Api]:
    """The same, which waits until the decision is settled."""
    async with serving(stores, tmp_path, decision_seconds=20) as running:
        await running.until_submitting()
        await fill(running)
        yield running


@pytest.fixture
async def without_kafka(migrated_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(Stores(migrated_url, redis_url, nowhere(), Topics("none.")), tmp_path) as running:
        await fill(running)
        yield running


async def fill(api: Api) -> None:
    """Clusters 0 and 3 hold; 1 was merged into 2 and that into 3; 4 ended."""
    members = [member("a", 0), member("b", 0), *(member(f"{n}", n) for n in range(1, 5)), member("loose", -1)]
    clusters = [cluster(0, 2, "a"), *(cluster(n, 1, str(n)) for n in range(1, 5))]
    await api.project(version(PET, 1, tuple(members), tuple(clusters)))
    merged = (cluster(1, 0, merged_into=2), cluster(2, 0, merged_into=3), cluster(3, 3, "3"), cluster(4, 0))
    await api.project(version(PET, 2, (member("4", -1),), merged))


async def decide(api: Api, pet_id: str = PET, **body: Any) -> Reply:
    return await api.call("POST", f"/internal/pets/{pet_id}/decisions", json.dumps(RENAME | body).encode())


def data(reply: Reply) -> Any:
    return json.loads(reply.body)["data"]


def error(reply: Reply) -> Any:
    return json.loads(reply.body)["error"]


class Keys:
    """The keys that the API has written."""

    def __init__(self, records: list[ConsumerRecord]) -> None:
        self.records = records

    def find(self, key_id: str) -> PetKey:
        """Of the one record of this key."""
        (record,) = [record for record in self.records if record.key == key_id.encode()]
        return decode_key(record.value)


async def facts_of(stores: Stores) -> list[tuple[Envelope, DecisionSubmitted]]:
    """What stands in the log, opened."""
    log, found = await log_of(stores), []
    keys = Keys(await read(stores, stores.topics.pet_keys.name))  # read behind the log: each was there before its fact
    for record in log:
        envelope, fact = decode_fact(record.value, keys)
        assert isinstance(fact, DecisionSubmitted)
        found.append((envelope, fact))
    return found


async def log_of(stores: Stores) -> list[ConsumerRecord]:
    return await read(stores, stores.topics.pet_log.name)


async def read(stores: Stores, topic: str) -> list[ConsumerRecord]:
    consumer = AIOKafkaConsumer(bootstrap_servers=stores.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(TEST_PARTITIONS)]
        total = sum((await consumer.end_offsets(partitions)).values())
        consumer.assign(partitions)
        records: list[ConsumerRecord] = []
        while len(records) < total:
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                records += batch
        return records
    finally:
        await consumer.stop()


async def settle(api: Api, stores: Stores, asked: asyncio.Task[Reply], **outcome: Any) -> Reply:
    """The answer to a decision that is in the log and then settled, as fold and projector would."""
    (envelope, fact), *_ = await eventually(lambda: facts_of(stores))
    assert not asked.done(), "it waits"
    said = {"arguments": fact.arguments, "who": fact.who, "why": fact.why, "time": envelope.time}
    made = outcome.pop("version", 3)
    message = settled(PET, fact.decision_id, made, fact.kind, expected_version=fact.expected_version, **said | outcome)
    await project(api.pool, message)
    return await asked


async def test_it_is_written_to_the_log_and_answered_when_it_is_settled(patient: Api, stores: Stores) -> None:
    asked = asyncio.create_task(decide(patient))
    reply = await settle(patient, stores, asked)
    row = data(reply)
    assert reply.status == 201
    assert reply.headers["Location"] == f"{PLACE}/{row['decision_id']}"
    (record,) = await log_of(stores)
    ((envelope, fact),) = await facts_of(stores)
    assert fact == DecisionSubmitted(
        decision_id=row["decision_id"], kind="rename", expected_version=2, arguments={"cluster": 0, "name": "Rex"},
        who="ann", why="it is Rex",
    )  # fmt: skip
    assert (record.key, record.partition) == (PET.encode(), partition_of(PET, TEST_PARTITIONS))
    assert header(record.headers, "ce_type") == "media.DecisionSubmitted.v1"
    assert not [word for word in (b"Rex", b"ann") if word in record.value], "it is sealed"
    (key,) = await read(stores, stores.topics.pet_keys.name)
    assert (key.partition, header(key.headers, "ce_type")) == (record.partition, PET_KEY_TYPE)
    assert (envelope.key_id.encode(), decode_key(key.value).pet_id) == (key.key, PET)
    assert header(record.headers, "ce_id") == envelope.event_id
    assert header(record.headers, "ce_time") == envelope.time == row["decided_at"]
    assert row == {
        "pet_id": PET, "decision_id": row["decision_id"], "kind": "rename",
        "arguments": {"cluster": "101-cluster-0", "name": "Rex"}, "expected_version": 2, "who": "ann",
        "why": "it is Rex", "state": "accepted", "version": 3, "code": None, "reason": None,
        "cluster": "101-cluster-0", "images": 0, "undone_by": None, "decided_at": envelope.time, "log_partition": 0,
        "log_offset": 3,
    }  # fmt: skip
    assert data(await patient.call("GET", reply.headers["Location"])) == row


async def test_what_the_fold_refuses_is_a_409_with_its_reason_and_kept(patient: Api, stores: Stores) -> None:
    asked = asyncio.create_task(decide(patient, decision_id="d-1"))
    reply = await settle(
        patient,
        stores,
        asked,
        version=2,
        accepted=False,
        code="conflict",
        reason="d-0 says cluster 3 is gone",
        cluster=-1,
    )
    refused = {"refusal": "conflict", "version": 2, "decision_id": "d-1"}
    assert (reply.status, error(reply)) == (
        *(409, {"code": "decision_refused", "message": "d-0 says cluster 101-cluster-3 is gone", **refused}),
    )
    row = data(await patient.call("GET", reply.headers["Location"]))
    assert (row["state"], row["code"], row["reason"], row["cluster"]) == (
        *("refused", "conflict", "d-0 says cluster 101-cluster-3 is gone", None),
    )
    again = await decide(patient, decision_id="d-1")
    assert (again.status, again.body) == (409, reply.body)
    assert len(await log_of(stores)) == 1, "it is told again, not decided again"


async def test_one_that_is_not_settled_in_time_is_accepted_and_unknown_until_it_is(api: Api, stores: Stores) -> None:
    reply = await decide(api, decision_id="d-1")
    assert (reply.status, data(reply)) == (202, {"pet_id": PET, "decision_id": "d-1", "state": "pending"})
    assert reply.headers["Location"] == f"{PLACE}/d-1"
    unknown = await api.call("GET", f"{PLACE}/d-1")
    assert (unknown.status, error(unknown)["code"]) == (404, "decision_not_found")
    assert "a moment after it was accepted" in error(unknown)["message"]
    ids = {header(record.headers, "ce_id") for record in await log_of(stores)}

    repeated = await decide(api, decision_id="d-1")
    assert repeated.status == 202
    records = await log_of(stores)
    assert (len(records), {header(record.headers, "ce_id") for record in records}) == (2, ids), "the same id"

    await project(api.pool, settled(PET, "d-1", 3, expected_version=2))
    known = await decide(api, decision_id="d-1", who="bob", why="he knows her")
    assert (known.status, data(known)["state"], data(known)["who"]) == (200, "accepted", "ann")
    assert len(await log_of(stores)) == 2


async def test_another_decision_of_the_same_id_is_refused(api: Api, stores: Stores) -> None:
    await project(api.pool, settled(PET, "d-1", 3, expected_version=2))
    for other in ({"expected_version": 1}, {"arguments": RENAME["arguments"] | {"name": "Bello"}}):
        reply = await decide(api, decision_id="d-1", **other)
        assert (reply.status, error(reply)["code"]) == (409, "decision_id_taken")
    reply = await decide(api, decision_id="d-1", kind="undo", arguments={"decision_id": "d-0"})
    assert (reply.status, error(reply)["field"]) == (409, "decision_id")
    assert await log_of(stores) == []


@pytest.mark.parametrize(
    ("kind", "arguments", "refusal", "message", "successor"),
    [
        ("rename", {"cluster": "101-cluster-9", "name": "Rex"}, "not_found", "has no cluster 101-cluster-9", None),
        ("rename", {"cluster": "101-cluster-1", "name": "Rex"}, "moved_on", "into 101-cluster-3", "101-cluster-3"),
        ("merge", {"clusters": ["101-cluster-0", "101-cluster-4"]}, "moved_on", "4 ended with version 2", None),
        ("pin_hero", {"cluster": "101-cluster-0", "image_id": "3"}, "moved_on", "lies in 101-cluster-3, not in", None),
        ("not_here", {"cluster": "101-cluster-0", "image_ids": ["a", "loose"]}, "moved_on", "lies in no cluster", None),
        ("split", {"cluster": "101-cluster-0", "image_ids": ["a", "x"]}, "not_found", "has no image x", None),
        ("together", {"image_ids": ["a", "x"]}, "not_found", "has no image x", None),
        ("remove_images", {"image_ids": ["x"]}, "not_found", "has no image x", None),
    ],
)  # fmt: skip
async def test_what_the_album_has_not_or_no_longer_is_refused_before_it_is_written(
    without_kafka: Api, kind: str, arguments: dict[str, Any], refusal: str, message: str, successor: str | None
) -> None:
    reply = await decide(without_kafka, kind=kind, arguments=arguments)
    told = error(reply)
    assert (reply.status, told["code"], told["refusal"]) == (409, "decision_refused", refusal)
    assert message in told["message"]
    assert (told.get("successor"), told["version"]) == (successor, 2)
    assert "Location" not in reply.headers, "nothing is kept of it"


async def test_a_version_that_the_pet_has_not_had_and_a_pet_that_was_never_seen(without_kafka: Api) -> None:
    early = await decide(without_kafka, expected_version=3)
    assert (early.status, error(early)["code"], error(early)["version"]) == (409, "version_not_reached", 2)
    unseen = await decide(without_kafka, "none", kind="remove_images", arguments={"image_ids": ["a"]})
    assert (unseen.status, error(unseen)["code"]) == (404, "clusters_not_found")


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        ({"kind": "paint"}, "kind", "must be one of rename, pin_hero"),
        ({"kind": 1}, "kind", "Expected `str`"),
        ({"arguments": {"cluster": "101-cluster-0"}}, "arguments", "missing required field `name`"),
        ({"arguments": {"cluster": 0, "name": "Rex"}}, "arguments.cluster", "as 101-cluster-0"),
        ({"arguments": {"cluster": "202-cluster-0", "name": "Rex"}}, "arguments.cluster", "as 101-cluster-0"),
        ({"arguments": {"cluster": "101-cluster-0", "name": " "}}, "arguments.name", "must not be blank"),
        ({"arguments": {"cluster": "101-cluster-0", "name": "x" * 129}}, "arguments.name", "length <= 128"),
        ({"arguments": {"cluster": "101-cluster-0", "name": "R", "size": 1}}, "arguments", "unknown field `size`"),
        ({"kind": "merge", "arguments": {"clusters": ["101-cluster-0", "x"]}}, "arguments.clusters[1]", "as 101-"),
        ({"kind": "merge", "arguments": {"clusters": ["101-cluster-0"] * 2}}, "arguments.clusters", "twice"),
        ({"kind": "not_here", "arguments": {"cluster": "101-cluster-0", "image_ids": ["a/b"]}},
         "arguments.image_ids[0]", "must be 1-128 characters"),
        ({"expected_version": 0}, "expected_version", ">= 1"),
        ({"expected_version": 2**63}, "expected_version", "<= 9223372036854775807"),
        ({"who": ""}, "who", "length >= 1"),
        ({"why": " "}, "why", "matching regex"),
        ({"decision_id": "a/b"}, "decision_id", "matching regex"),
        ({"decision_id": "a\n"}, "decision_id", "is not a valid id"),
        ({"when": "now"}, "when", "unknown field"),
    ],
)  # fmt: skip
async def test_what_is_not_valid_is_named(without_kafka: Api, body: dict[str, Any], field: str, reason: str) -> None:
    reply = await decide(without_kafka, **body)
    assert (reply.status, error(reply)["code"], error(reply)["field"]) == (422, "invalid_body", field)
    assert reason in error(reply)["message"]


async def test_without_kafka_or_a_token_nothing_is_decided(without_kafka: Api) -> None:
    reply = await decide(without_kafka, decision_id="d-1")
    assert (reply.status, error(reply)["code"], reply.headers["Retry-After"]) == (503, "kafka_unavailable", "1")
    bad = await without_kafka.call("POST", "/internal/pets/a%20b/decisions", json.dumps(RENAME).encode())
    assert (bad.status, error(bad)["field"]) == (422, "pet_id")
    assert (await without_kafka.call("POST", PLACE, b"{}", token=None)).status == 401


async def test_where_postgres_is_not_read_nothing_is_decided(stores: Stores, tmp_path: Path) -> None:
    async with serving(stores, tmp_path, read_postgres=False) as running:
        for reply in (await decide(running), await running.call("GET", PLACE), await running.call("GET", f"{PLACE}/d")):
            assert (reply.status, error(reply)["code"]) == (503, "reading_off")
    assert await log_of(stores) == []


async def test_they_are_listed_newest_first_and_by_what_they_name(without_kafka: Api) -> None:
    split = {"cluster": 3, "image_ids": ["a", "b"]}
    await project(
        without_kafka.pool,
        settled(PET, "d-1", 3),
        settled(PET, "d-2", 4, "split", arguments=split, cluster=5, images=2),
        settled(PET, "d-3", 4, "merge", arguments={"clusters": [0, 3]}, accepted=False, code="conflict", reason="no",
                offset=5, cluster=-1),
        settled(PET, "d-4", 5, "undo", arguments={"decision_id": "d-2"}, undoes="d-2", cluster=5, images=2, offset=6),
        settled("202", "d-1", 1),
    )  # fmt: skip

    async def listed(query: str = "") -> list[str]:
        return [row["decision_id"] for row in data(await without_kafka.call("GET", f"{PLACE}{query}"))]

    assert await listed() == ["d-4", "d-3", "d-2", "d-1"]
    assert await listed("?kind=split") == ["d-2"]
    assert await listed("?state=accepted") == ["d-4", "d-1"]
    assert await listed("?state=refused") == ["d-3"]
    assert await listed("?state=undone") == ["d-2"]
    assert await listed("?cluster=101-cluster-3") == ["d-3", "d-2"]
    assert await listed("?cluster=101-cluster-5") == ["d-4", "d-2"]
    assert await listed("?cluster=101-cluster-0&kind=rename") == ["d-1"]
    assert await listed("?image_id=b") == ["d-2"]
    first = json.loads((await without_kafka.call("GET", f"{PLACE}?limit=3")).body)
    assert [row["decision_id"] for row in first["data"]] == ["d-4", "d-3", "d-2"]
    assert [row["state"] for row in first["data"]] == ["accepted", "refused", "undone"]
    assert (first["data"][1]["arguments"], first["data"][2]["undone_by"]) == (
        *({"clusters": ["101-cluster-0", "101-cluster-3"]}, "d-4"),
    )
    assert await listed(f"?limit=3&cursor={first['meta']['next_cursor']}") == ["d-1"]
    assert data(await without_kafka.call("GET", "/internal/pets/none/decisions")) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *(("kind=paint", "kind"), ("state=pending", "state"), ("cluster=0", "cluster"), ("image_id=a/b", "image_id")),
        *(("limit=0", "limit"), ("cursor=x", "cursor"), ("kinds=split", "kinds"), ("cluster=202-cluster-0", "cluster")),
    ],
)
async def test_a_wrong_parameter_is_named(without_kafka: Api, query: str, field: str) -> None:
    reply = await without_kafka.call("GET", f"{PLACE}?{query}")
    assert (reply.status, error(reply)["code"], error(reply)["field"]) == (422, "invalid_parameter", field)
