"""What existing callers send over HTTP and the very bytes that they get back."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from yarl import URL

from app.local.kafka import KafkaServer
from projections.jobs import RecordedCommand, record_commands, record_statuses
from schemas.commands import EmbedImages
from schemas.headers import header
from schemas.ids import message_id
from schemas.insights import Insight
from schemas.public import JobStatus
from schemas.topics import Topics
from schemas.versions import ClusterChange, Hero, MemberChange, PetVersion
from tests.conftest import TEST_PARTITIONS
from tests.contract.web_rig import DEADLINE_SECONDS, MAX_BODY, PREVIOUS_TOKEN, Api, Stores, nowhere, serving

PET = "/internal/pets/101"
VERSION = PetVersion(
    pet_id="101",
    version=1,
    time="2026-11-21T07:49:24.624049+00:00",
    partition=0,
    offset=0,
    job_id="job_1",
    model="m@1",
    policy_id="default-1",
    max_cluster_size=24,
    members=(
        MemberChange("a", 0, 0.75, "joined", quality=0.25),
        MemberChange("b", 0, 0.875, "joined", quality=0.5),
        MemberChange("c", -1, 0.0, "opened"),
    ),
    clusters=(ClusterChange(0, "Portraits", 2, 0.9, (Hero("b", 0.5), Hero("a", 0.25))),),
    cluster_count=1,
    image_count=3,
    unclustered_count=1,
    coverage={"portrait": 0.6},
    quality_score=0.85,
)
ANSWER = (
    '{"pet_id":"101","clusters":[{"id":"101-cluster-0","label":"Portraits","members":['
    '{"image_id":"b","score":0.875,"position":0,"qualityScore":null},'
    '{"image_id":"a","score":0.75,"position":1,"qualityScore":null}],"hero_image_id":"b","member_count":2,'
    '"heroes":[{"image_id":"b","rank":1,"score":0.5},{"image_id":"a","rank":2,"score":0.25}]}],'
    '"metrics":{"coverage":{"portrait":0.6},"quality_score":0.85,"processed_at":"2026-11-21T07:49:24.624049+00:00"},'
    '"updated_at":"2026-11-21T07:49:24.624049+00:00","image_count":3,"unclustered_count":1,"unclustered":["c"],'
    '"generation":%d,"version":1}'
)
JOB = {
    "pet_id": "101",
    "job_id": "job_1",
    "reason": "insights_ready",
    "force": False,
    "payload": {
        "image_ids": ["101000000", "101000001", "101000000"],
        "labels": ["Portraits"],
        "coverage": {"portrait": 0.6},
        "quality_score": 0.85,
    },
    "metadata": {"triggered_by": "auth-service"},
}


@pytest.fixture
def stores(migrated_url: str, redis_url: str, kafka: KafkaServer, topics: Topics) -> Stores:
    return Stores(migrated_url, redis_url, kafka.bootstrap_servers, topics)


@pytest.fixture
async def api(stores: Stores, tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(stores, tmp_path) as running:
        yield running


@pytest.fixture
async def bare(tmp_path: Path) -> AsyncIterator[Api]:
    """The API with every store down: enough for what is answered before a store is asked."""
    down = Stores(f"postgresql://postgres@{nowhere()}/none", f"redis://{nowhere()}/0", nowhere(), Topics("none."))
    async with serving(down, tmp_path) as running:
        yield running


async def expected_answer(api: Api) -> bytes:
    generation: int = await api.pool.fetchval("SELECT generation FROM projection_generations")
    return ANSWER.replace("%d", str(generation)).encode()


# ---- health, tokens, paths, methods, sizes


async def test_health_needs_no_token_and_no_store(bare: Api) -> None:
    reply = await bare.call("GET", "/healthz", token=None)
    assert (reply.status, reply.body) == (200, b'{"status":"ok"}')
    assert reply.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("token", [None, "", "wrong", "s3cret-toke", "s3cret-token2", "té"])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/internal/cluster-jobs", b"{"),
        ("GET", f"{PET}/clusters", None),
        ("GET", f"{PET}/clusters/latest", None),
        ("GET", f"{PET}/jobs", None),
        ("GET", "/internal/jobs/1", None),
        ("POST", f"{PET}/invalidate", None),
        ("GET", "/internal/health/redis", None),
        ("GET", "/internal/no-such-page", None),
    ],
)
async def test_an_absent_and_a_wrong_token_are_one_answer(
    bare: Api, token: str | None, method: str, path: str, body: bytes | None
) -> None:
    reply = await bare.call(method, path, body, token=token)
    assert (reply.status, reply.body) == (401, b'{"detail":"invalid internal token"}')


async def test_the_previous_token_is_valid_too(api: Api) -> None:
    assert (await api.call("GET", "/internal/health/redis", token=PREVIOUS_TOKEN)).status == 200


async def test_an_encoded_path_does_not_pass_the_token_check(bare: Api) -> None:
    async with bare.session.get(URL("/%69nternal/health/redis", encoded=True)) as response:
        assert response.status == 401


@pytest.mark.parametrize(
    "path", ["/", "/metrics", "/table/", "/router/", "/stats/", "/docs", "/redoc", f"{PET}/clusters/"]
)
async def test_unknown_paths_are_not_found(bare: Api, path: str) -> None:
    reply = await bare.call("GET", path)
    assert (reply.status, reply.body) == (404, b'{"detail":"Not Found"}')


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/internal/cluster-jobs", "POST"),
        ("HEAD", "/internal/cluster-jobs", "POST"),
        ("DELETE", f"{PET}/clusters", "GET, HEAD"),
        ("GET", f"{PET}/invalidate", "POST"),
        ("POST", "/healthz", "GET, HEAD"),
        ("OPTIONS", "/internal/health/redis", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_told_the_right_one(bare: Api, method: str, path: str, allow: str) -> None:
    reply = await bare.call(method, path)
    assert (reply.status, reply.headers["Allow"]) == (405, allow)
    assert reply.body == (b"" if method == "HEAD" else b'{"detail":"Method Not Allowed"}')


async def test_a_body_over_the_limit_is_refused(bare: Api) -> None:
    reply = await bare.call("POST", "/internal/cluster-jobs", b" " * (MAX_BODY + 1))
    assert (reply.status, reply.body) == (413, b'{"detail":"Request Entity Too Large"}')


# ---- POST /internal/cluster-jobs: what is refused


def _refused(kind: str, loc: str, message: str, value: str, more: str = "") -> bytes:
    return f'{{"detail":[{{"type":"{kind}","loc":{loc},"msg":"{message}","input":{value}{more}}}]}}'.encode()


_NO_OBJECT = "Input should be a valid dictionary or object to extract fields from"
_LONG_NAME = "x" * 129
_BAD_ID = "must be 1-128 characters of A-Z a-z 0-9 . _ : -"


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (
            b"{",
            _refused(
                "json_invalid",
                '["body",1]',
                "JSON decode error",
                "{}",
                ',"ctx":{"error":"Expecting property name enclosed in double quotes"}',
            ),
        ),
        (b'{"job_id":"x"}', _refused("missing", '["body","pet_id"]', "Field required", '{"job_id":"x"}')),
        (b'{"pet_id":5}', _refused("string_type", '["body","pet_id"]', "Input should be a valid string", "5")),
        (b"[]", _refused("model_attributes_type", '["body"]', _NO_OBJECT, "[]")),
        (
            b'{"pet_id":"1","payload":[1]}',
            _refused("dict_type", '["body","payload"]', "Input should be a valid dictionary", "[1]"),
        ),
        (b"", _refused("missing", '["body"]', "Field required", "null")),
        (b"null", _refused("missing", '["body"]', "Field required", "null")),
        (b'{"pet_id":"a b"}', _refused("value_error", '["body","pet_id"]', _BAD_ID, '"a b"')),
        (b'{"pet_id":"1","job_id":""}', _refused("value_error", '["body","job_id"]', _BAD_ID, '""')),
        (
            b'{"pet_id":"1","payload":{"image_ids":["a",7]}}',
            _refused("value_error", '["body","payload","image_ids",1]', "must be a string, got int", "7"),
        ),
        (
            json.dumps({"pet_id": "1", "payload": {"labels": ["ok", _LONG_NAME]}}).encode(),
            _refused(
                "value_error",
                '["body","payload","labels",1]',
                "has 129 characters, the limit is 128",
                f'"{_LONG_NAME}"',
            ),
        ),
        (
            json.dumps({"pet_id": "1", "payload": {"coverage": {_LONG_NAME: 0.5}}}).encode(),
            _refused(
                "value_error",
                '["body","payload","coverage"]',
                "has a name of 129 characters, the limit is 128",
                f'{{"{_LONG_NAME}":0.5}}',
            ),
        ),
        (
            '{"pet_id":"1","payload":{"image_ids":["é"]}}'.encode(),
            _refused("value_error", '["body","payload","image_ids",0]', _BAD_ID, '"é"'),
        ),
        (
            b'{"pet_id":"1","metadata":{"a":"\\ud800"}}',
            _refused("value_error", '["body","metadata","a"]', "holds half of a surrogate pair", "null"),
        ),
        (
            b'{"pet_id":"1","payload":{"labels":["a","\\ud800"]}}',
            _refused("value_error", '["body","payload","labels",1]', "holds half of a surrogate pair", "null"),
        ),
        (
            b'{"pet_id":"1","metadata":{"\\udfff":1}}',
            _refused("value_error", '["body","metadata"]', "holds half of a surrogate pair", "null"),
        ),
        (
            b'{"pet_id":"1","payload":{"quality_score":1' + b"0" * 40 + b"}}",
            _refused(
                "value_error",
                '["body","payload","quality_score"]',
                "holds a whole number of more than 64 bits",
                "null",
            ),
        ),
        (
            b'{"pet_id":"1","image_ids":["a","?"]}',
            _refused("value_error", '["body","image_ids",1]', _BAD_ID, '"?"'),
        ),
        (
            b'{"pet_id":"1","coverage":{"a.b":"x"}}',
            _refused("value_error", '["body","coverage","a.b"]', "must be a number, got string", '"x"'),
        ),
        (
            b'{"pet_id":"1","payload":{"payload":{"image_ids":["?"]}}}',
            _refused("value_error", '["body","payload","payload","image_ids",0]', _BAD_ID, '"?"'),
        ),
        (
            b'{"pet_id":"1","payload":{"images":[{"image_id":"a"},{"image_id":"b","quality_score":2}]}}',
            _refused("value_error", '["body","payload","images",1,"quality_score"]', "must lie in 0…1", "2"),
        ),
        (
            b'{"pet_id":"1","payload":{"images":[{"quality_score":1}]}}',
            _refused("value_error", '["body","payload","images",0,"image_id"]', "is required", "null"),
        ),
        (
            b'{"pet_id":"1","payload":{"pet_id":"2"}}',
            _refused("value_error", '["body","payload","pet_id"]', "differs from pet_id", '"2"'),
        ),
    ],
)
async def test_a_bad_job_is_refused_with_the_field_and_the_reason(bare: Api, body: bytes, answer: bytes) -> None:
    reply = await bare.call("POST", "/internal/cluster-jobs", body)
    assert (reply.status, reply.body) == (422, answer)
    assert reply.headers["Content-Type"] == "application/json"


async def test_another_content_type_is_no_object(bare: Api) -> None:
    reply = await bare.call("POST", "/internal/cluster-jobs", b'{"a":1}', headers={"Content-Type": "text/plain"})
    assert (reply.status, reply.body) == (
        422,
        _refused("model_attributes_type", '["body"]', _NO_OBJECT, json.dumps('{"a":1}')),
    )


@pytest.mark.parametrize(
    ("body", "content_type", "echo"),
    [
        (b"x" * 9_000, "text/plain", "x" * 1_000 + "…"),
        (b'"' + b"x" * 9_000 + b'"', "application/json", "x" * 1_000 + "…"),
        (json.dumps({"x": "y" * 9_000, "z": 1}).encode(), "application/json", "an object of 2 members"),
        (json.dumps(["y"] * 2_000).encode(), "application/json", "an array of 2000 items"),
    ],
)
async def test_what_an_error_repeats_of_the_body_is_bounded(
    bare: Api, body: bytes, content_type: str, echo: str
) -> None:
    reply = await bare.call("POST", "/internal/cluster-jobs", body, headers={"Content-Type": content_type})
    error = json.loads(reply.body)["detail"][0]
    assert (reply.status, error["loc"][0]) == (422, "body")
    assert len(reply.body) < 1_500
    assert error["input"][:1_000] == echo[:1_000]
    assert error["input"][-1] == echo[-1]


@pytest.mark.parametrize(
    "body", [b"\xff", b"1e999", b'{"pet_id":"1","x":NaN}', b"[" * 9_000, b'{"a":' + b"9" * 5_000 + b"}"]
)
async def test_what_is_no_json_text_is_refused(bare: Api, body: bytes) -> None:
    reply = await bare.call("POST", "/internal/cluster-jobs", body)
    assert (reply.status, reply.body) == (400, b'{"detail":"There was an error parsing the body"}')


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_body_that_is_not_compressed_as_it_says_is_refused(bare: Api, coding: str) -> None:
    headers = {"Content-Encoding": coding, "X-Internal-Token": PREVIOUS_TOKEN, "Connection": "close"}
    async with bare.session.post("/internal/cluster-jobs", data=b"not so", headers=headers) as response:
        assert (response.status, await response.read()) == (400, b'{"detail":"There was an error parsing the body"}')


async def test_a_body_that_is_too_large_once_decompressed_is_refused(bare: Api) -> None:
    bomb = gzip.compress(b" " * 5_000_000)
    assert len(bomb) < MAX_BODY
    reply = await bare.call("POST", "/internal/cluster-jobs", bomb, headers={"Content-Encoding": "gzip"})
    assert (reply.status, reply.body) == (413, b'{"detail":"Request Entity Too Large"}')


# ---- POST /internal/cluster-jobs: what is accepted


async def test_a_job_stands_in_kafka_when_it_is_accepted(api: Api, kafka: KafkaServer) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await until_ready(api)
    body = json.dumps(JOB | {"unknown": [1]}).encode()
    reply = await api.call("POST", "/internal/cluster-jobs", body, headers={"traceparent": trace})
    assert (reply.status, reply.body) == (202, b'{"status":"accepted"}')
    assert (reply.headers["X-Job-Id"], reply.headers["Location"]) == ("job_1", "/internal/jobs/job_1?pet_id=101")
    (record,) = await _read_jobs(kafka, api.topics)
    command = msgspec.json.decode(record.value, type=EmbedImages)
    assert record.key == b"101"
    assert (command.pet_id, command.job_id, command.image_ids) == ("101", "job_1", ("101000000", "101000001"))
    assert (command.labels, command.coverage, command.quality_score) == (("Portraits",), {"portrait": 0.6}, 0.85)
    assert (command.reason, command.metadata) == ("insights_ready", {"triggered_by": "auth-service"})
    assert (command.source, command.part, command.parts) == ("http", 1, 1)
    assert header(record.headers, "traceparent") == trace
    assert header(record.headers, "ce_id") == message_id("job", "101", "job_1", 1, 1)


DETAILS: dict[str, Any] = {
    "image_ids": ["a", "b"],
    "images": [{"image_id": "b", "quality_score": 0.5, "pose": "frontal", "breed": "beagle"}, {"image_id": "c"}],
    "labels": ["Portraits"],
    "coverage": {"portrait": 0.6},
    "quality_score": 0.85,
}


@pytest.mark.parametrize(
    "body",
    [
        {"pet_id": "101", "payload": DETAILS},
        {"pet_id": "101", **DETAILS},
        {"pet_id": "101", "payload": {"pet_id": "101", "payload": DETAILS}, "attempts": 3, "enqueued_at": "long ago"},
    ],
    ids=["in payload", "flat", "as a whole stream entry"],
)
async def test_the_details_are_taken_from_wherever_a_stream_entry_may_have_them(
    api: Api, kafka: KafkaServer, body: dict[str, Any]
) -> None:
    await until_ready(api)
    assert (await api.call("POST", "/internal/cluster-jobs", json.dumps(body).encode())).status == 202
    (record,) = await _read_jobs(kafka, api.topics)
    command = msgspec.json.decode(record.value, type=EmbedImages)
    assert (command.image_ids, command.labels) == (("a", "b", "c"), ("Portraits",))
    assert command.insights == {"b": Insight(quality_score=0.5, pose="frontal")}
    assert (command.coverage, command.quality_score) == ({"portrait": 0.6}, 0.85)


async def test_a_job_without_an_id_gets_one_and_many_images_make_several_commands(api: Api, kafka: KafkaServer) -> None:
    await until_ready(api)
    body = json.dumps({"pet_id": "101", "payload": {"image_ids": [f"i{n}" for n in range(130)]}}).encode()
    reply = await api.call("POST", "/internal/cluster-jobs", body)
    assert reply.status == 202
    records = await _read_jobs(kafka, api.topics)
    commands = [msgspec.json.decode(record.value, type=EmbedImages) for record in records]
    assert [len(command.image_ids) for command in commands] == [64, 64, 2]
    assert {command.job_id for command in commands} == {reply.headers["X-Job-Id"]}
    assert len(reply.headers["X-Job-Id"]) == 32


async def test_a_body_without_a_content_type_is_taken_for_json(api: Api) -> None:
    await until_ready(api)
    async with api.session.post(
        "/internal/cluster-jobs",
        data=b'{"pet_id":"1"}',
        headers={"X-Internal-Token": PREVIOUS_TOKEN},
        skip_auto_headers=["Content-Type"],
    ) as response:
        assert response.status == 202


# ---- reads


async def test_clusters_are_read_from_postgres_and_then_from_redis(api: Api) -> None:
    await api.project(VERSION)
    expected = await expected_answer(api)
    first = await api.call("GET", f"{PET}/clusters")
    assert (first.status, first.body, first.headers["ETag"]) == (200, expected, '"v1"')
    assert await api.redis.get("test.clusters:state:101") == expected
    await api.pool.execute("TRUNCATE pet_clusters CASCADE")
    second = await api.call("GET", f"{PET}/clusters")
    assert (second.status, second.body, second.headers["ETag"]) == (200, expected, '"v1"')


async def test_the_latest_clusters_stand_in_an_envelope(api: Api) -> None:
    await api.project(VERSION)
    expected = b'{"api_version":"1","data":' + await expected_answer(api) + b',"meta":{},"error":null}'
    for _origin in ("postgres", "redis"):
        reply = await api.call("GET", f"{PET}/clusters/latest")
        assert (reply.status, reply.body, reply.headers["ETag"]) == (200, expected, '"v1"')


@pytest.mark.parametrize("path", [f"{PET}/clusters", f"{PET}/clusters/latest"])
async def test_who_holds_the_version_gets_no_body(api: Api, path: str) -> None:
    await api.project(VERSION)
    for held in ('"v1"', 'W/"v1"', '"v7", "v1"', "*"):
        reply = await api.call("GET", path, headers={"If-None-Match": held})
        assert (reply.status, reply.body, reply.headers["ETag"]) == (304, b"", '"v1"')
    assert (await api.call("GET", path, headers={"If-None-Match": '"v2"'})).status == 200


@pytest.mark.parametrize("pet", ["unknown", "a%20b", "%00", "a%2Fb", "x" * 200, "%F0%9F%90%B6"])
async def test_a_pet_never_clustered_is_not_found_whatever_its_id(api: Api, pet: str) -> None:
    headers = {"X-Internal-Token": PREVIOUS_TOKEN}
    async with api.session.get(URL(f"/internal/pets/{pet}/clusters", encoded=True), headers=headers) as response:
        assert (response.status, await response.read()) == (404, b'{"detail":"cluster state not found"}')
    async with api.session.post(URL(f"/internal/pets/{pet}/invalidate", encoded=True), headers=headers) as response:
        assert (response.status, await response.read()) == (202, b'{"status":"noop"}')


async def test_the_predecessors_cached_state_is_not_served(api: Api) -> None:
    await api.redis.set("test.clusters:state:101", b'{"pet_id":"101","clusters":[],"metrics":{},"updated_at":"x"}')
    assert (await api.call("GET", f"{PET}/clusters")).status == 404


async def test_invalidate_drops_the_cached_answer_only(api: Api) -> None:
    await api.project(VERSION)
    assert (await api.call("POST", f"{PET}/invalidate")).body == b'{"status":"noop"}'
    before = await api.call("GET", f"{PET}/clusters")
    removed = await api.call("POST", f"{PET}/invalidate")
    assert (removed.status, removed.body) == (202, b'{"status":"removed"}')
    assert (await api.call("POST", f"{PET}/invalidate")).body == b'{"status":"noop"}'
    assert (await api.call("GET", f"{PET}/clusters")).body == before.body


# ---- jobs


async def test_jobs_are_listed_newest_first_in_pages(api: Api) -> None:
    await record_jobs(api, [("101", f"job-{n}") for n in range(5)])
    seen: list[str] = []
    cursor = ""
    for size in (2, 2, 1):
        reply = await api.call("GET", f"{PET}/jobs?limit=2{cursor}")
        page = json.loads(reply.body)
        assert (reply.status, page["api_version"], page["error"], len(page["data"])) == (200, "1", None, size)
        seen += [job["job_id"] for job in page["data"]]
        cursor = f"&cursor={page['meta']['next_cursor']}"
    assert seen == ["job-4", "job-3", "job-2", "job-1", "job-0"]
    assert page["meta"] == {"next_cursor": None}


@pytest.mark.parametrize(
    ("query", "field"), [("limit=0", "limit"), ("limit=201", "limit"), ("limit=x", "limit"), ("cursor=!", "cursor")]
)
async def test_a_bad_parameter_is_named(api: Api, query: str, field: str) -> None:
    reply = await api.call("GET", f"{PET}/jobs?{query}")
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["code"], error["field"]) == (422, "invalid_parameter", field)


async def test_a_job_is_found_by_its_id(api: Api) -> None:
    await record_jobs(api, [("101", "job-1"), ("102", "same"), ("103", "same")])
    async with api.pool.acquire() as connection:
        at = "2026-11-21T08:00:00.000000+00:00"
        succeeded = JobStatus(pet_id="101", job_id="job-1", status="succeeded", at=at, version=3, placed=2)
        await record_statuses(connection, [succeeded])
    found = json.loads((await api.call("GET", "/internal/jobs/job-1")).body)
    assert {
        name: found["data"][name] for name in ("pet_id", "job_id", "status", "version", "placed", "completed_at")
    } == {
        "pet_id": "101",
        "job_id": "job-1",
        "status": "succeeded",
        "version": 3,
        "placed": 2,
        "completed_at": at,
    }
    ambiguous = await api.call("GET", "/internal/jobs/same")
    assert (ambiguous.status, json.loads(ambiguous.body)["error"]["code"]) == (409, "ambiguous_job_id")
    chosen = json.loads((await api.call("GET", "/internal/jobs/same?pet_id=103")).body)
    assert chosen["data"]["pet_id"] == "103"
    for missing in (
        "/internal/jobs/none",
        "/internal/jobs/same?pet_id=1",
        "/internal/jobs/a%20b",
    ):
        reply = await api.call("GET", missing)
        assert (reply.status, json.loads(reply.body)["error"]["code"]) == (404, "job_not_found")
    for invalid in ("/internal/jobs/same?pet_id=", "/internal/jobs/same?pet_id=%00"):
        reply = await api.call("GET", invalid)
        error = json.loads(reply.body)["error"]
        assert (reply.status, error["code"], error["field"]) == (422, "invalid_parameter", "pet_id")


# ---- stores that are down


async def test_reads_go_on_while_redis_is_down(stores: Stores, tmp_path: Path) -> None:
    down = Stores(stores.database_url, f"redis://{nowhere()}/0", stores.bootstrap_servers, stores.topics)
    async with serving(down, tmp_path) as api:
        await api.project(VERSION)
        reply = await api.call("GET", f"{PET}/clusters")
        assert (reply.status, reply.body) == (200, await expected_answer(api))
        health = await api.call("GET", "/internal/health/redis")
        assert (health.status, health.body) == (503, b'{"detail":"redis unavailable"}')
        invalidated = await api.call("POST", f"{PET}/invalidate")
        assert (invalidated.status, invalidated.body) == (503, b'{"detail":"redis unavailable"}')
        await until_ready(api, but="redis")
        assert (await api.call("POST", "/internal/cluster-jobs", b'{"pet_id":"1"}')).status == 202


async def test_the_api_starts_and_reads_while_kafka_is_down(stores: Stores, tmp_path: Path) -> None:
    down = Stores(stores.database_url, stores.redis_url, nowhere(), stores.topics)
    async with serving(down, tmp_path) as api:
        await api.project(VERSION)
        assert (await api.call("GET", f"{PET}/clusters")).status == 200
        reply = await api.call("POST", "/internal/cluster-jobs", json.dumps(JOB).encode())
        assert (reply.status, reply.body) == (503, b'{"detail":"job queue unavailable"}')
        ready = json.loads((await api.call("GET", "/readyz", token=None)).body)
        assert {name: check["ok"] for name, check in ready["checks"].items()} == {
            "kafka": False,
            "postgres": True,
            "redis": True,
        }


async def test_a_cached_answer_is_read_while_postgres_is_down(stores: Stores, tmp_path: Path) -> None:
    async with serving(stores, tmp_path) as api:
        await api.project(VERSION)
        cached = await api.call("GET", f"{PET}/clusters")
    down = Stores(f"postgresql://postgres@{nowhere()}/none", stores.redis_url, stores.bootstrap_servers, stores.topics)
    async with serving(down, tmp_path) as api:
        assert (await api.call("GET", f"{PET}/clusters")).body == cached.body
        assert (await api.call("GET", "/internal/pets/other/clusters")).status == 503


async def test_readiness_names_the_store_that_is_away(stores: Stores, tmp_path: Path) -> None:
    away = Stores(stores.database_url, f"redis://{nowhere()}/0", stores.bootstrap_servers, stores.topics)
    async with serving(away, tmp_path) as api:
        await until_ready(api, but="redis")
        reply = await api.call("GET", "/readyz", token=None)
        document = json.loads(reply.body)
        assert (reply.status, document["status"], document["failing"]) == (503, "not_ready", ["redis"])
        assert document["checks"]["redis"]["detail"].startswith("unavailable: ")


async def test_with_both_stores_down_reads_say_so(bare: Api) -> None:
    reply = await bare.call("GET", f"{PET}/clusters")
    assert (reply.status, reply.body) == (503, b'{"detail":"cluster store unavailable"}')
    for path in (f"{PET}/clusters/latest", f"{PET}/jobs", "/internal/jobs/1"):
        reply = await bare.call("GET", path)
        assert (reply.status, json.loads(reply.body)["error"]["code"]) == (503, "store_unavailable")


async def test_ready_when_all_stores_answer(api: Api) -> None:
    reply = await until_ready(api)
    assert reply["status"] == "ready"
    assert list(reply["checks"]) == ["kafka", "postgres", "redis"]


# ---- helpers


async def until_ready(api: Api, but: str = "") -> dict[str, Any]:
    """Wait until every check passes, `but` for one."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            document: dict[str, Any] = json.loads((await api.call("GET", "/readyz", token=None)).body)
            if all(check["ok"] for name, check in document["checks"].items() if name != but):
                return document
            await asyncio.sleep(0.05)


async def _read_jobs(kafka: KafkaServer, topics: Topics) -> list[Any]:
    """Everything that stands in the jobs topic now."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topics.jobs.name, number) for number in range(TEST_PARTITIONS)])
        async with asyncio.timeout(DEADLINE_SECONDS):
            ends = await consumer.end_offsets(consumer.assignment())
            records: list[Any] = []
            while len(records) < sum(ends.values()):
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    records += batch
            return records
    finally:
        await consumer.stop()


async def record_jobs(api: Api, jobs: list[tuple[str, str]]) -> None:
    async with api.pool.acquire() as connection:
        for second, (pet_id, job_id) in enumerate(jobs):
            moment = datetime(2026, 11, 21, 7, 0, second, tzinfo=UTC)
            command = EmbedImages(pet_id=pet_id, job_id=job_id, image_ids=("a",), job_images=1)
            await record_commands(connection, [RecordedCommand(command, moment)])
