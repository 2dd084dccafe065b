"""What producers write into the Redis Stream, and what the bridge makes of it, on every supported Redis."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.local.kafka import KafkaServer
from schemas.headers import header
from schemas.ids import message_id
from schemas.insights import Insight
from schemas.topics import Topics
from tests.integration.bridge_rig import Rig, open_rig

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
REQUEST = (
    '{"pet_id":"101","job_id":"job_1","reason":"insights_ready","force":false,"payload":{"image_ids":'
    '["101000000","101000001"],"labels":["Portraits"],"coverage":{"portrait":0.6},"quality_score":0.85},'
    '"metadata":{"triggered_by":"auth-service"}}'
)
NESTED = (
    f'{{"job_id":"job_1","pet_id":"101","payload":{REQUEST},'
    '"attempts":0,"enqueued_at":"2026-11-21T07:49:24.600874+00:00"}'
)
FLAT = (
    '{"job_id":"job_1","pet_id":"101","payload":{"image_ids":["101000000","101000001"],"labels":["Portraits"],'
    '"coverage":{"portrait":0.6},"quality_score":0.85,"reason":"insights_ready","metadata":{"triggered_by":"auth-service"}},'
    '"attempts":0,"enqueued_at":"2026-11-21T07:49:24.600874+00:00"}'
)
FIELDS = {
    "job_id": "job_1",
    "pet_id": "101",
    "image_ids": '["101000000","101000001"]',
    "reason": "insights_ready",
    "force": "false",
    "quality_score": "0.85",
    "metadata": '{"triggered_by":"auth-service"}',
}


@pytest.fixture(params=["redis_server", "redis6_server"])
async def rig(request: pytest.FixtureRequest, kafka: KafkaServer, topics: Topics) -> AsyncIterator[Rig]:
    async with open_rig(request.getfixturevalue(request.param), kafka, topics) as rig:
        yield rig


@pytest.mark.parametrize("fields", [{"payload": NESTED}, {"payload": FLAT}, FIELDS], ids=["nested", "flat", "fields"])
async def test_every_form_of_a_job_becomes_the_same_command(rig: Rig, fields: dict[Any, Any]) -> None:
    entry_id = (await rig.redis.xadd(rig.stream, fields)).decode()
    async with rig.running():
        (command,) = await rig.commands(1)
        await rig.settled()
    assert (command.pet_id, command.job_id, command.part, command.parts) == ("101", "job_1", 1, 1)
    assert command.image_ids == ("101000000", "101000001")
    assert (command.reason, command.force, command.quality_score) == ("insights_ready", False, 0.85)
    assert command.metadata == {"triggered_by": "auth-service"}
    assert command.source == f"redis:{rig.stream}/{entry_id}"
    if "payload" in fields:
        assert (command.labels, command.coverage) == (("Portraits",), {"portrait": 0.6})
        assert command.enqueued_at == "2026-11-21T07:49:24.600874+00:00"


@pytest.mark.parametrize("form", ["nested", "flat", "fields"])
async def test_what_a_job_says_of_its_images_stands_in_its_commands(rig: Rig, form: str) -> None:
    images = [{"image_id": "a", "quality_score": 0.5, "pose": "frontal"}, {"image_id": "b", "label": "Walks"}]
    job = {"pet_id": "101", "job_id": "job_1", "payload": {"image_ids": ["a"], "images": images}}
    forms: dict[str, dict[Any, Any]] = {
        "nested": {"payload": json.dumps({"job_id": "job_1", "pet_id": "101", "payload": job, "attempts": 0})},
        "flat": {"payload": json.dumps(job)},
        "fields": {"pet_id": "101", "job_id": "job_1", "image_ids": '["a"]', "images": json.dumps(images)},
    }
    await rig.redis.xadd(rig.stream, forms[form])
    async with rig.running():
        (command,) = await rig.commands(1)
        await rig.settled()
    assert command.image_ids == ("a", "b")
    assert command.insights == {"a": Insight(quality_score=0.5, pose="frontal"), "b": Insight(label="Walks")}


async def test_minimal_entry(rig: Rig) -> None:
    entry_id = await rig.add({"pet_id": "101"})
    async with rig.running():
        (command,) = await rig.commands(1)
        await rig.settled()
    assert (command.pet_id, command.job_id, command.image_ids) == ("101", f"entry-{entry_id}", ())


async def test_headers_are_cloudevents_with_the_callers_trace(rig: Rig) -> None:
    await rig.redis.xadd(rig.stream, {"payload": NESTED, "traceparent": TRACE})
    async with rig.running():
        (record,) = await rig.records(rig.topics.jobs.name, 1)
    assert record.key == b"101"
    assert header(record.headers, "ce_id") == message_id("job", "101", "job_1", 1, 1)
    assert header(record.headers, "ce_type") == "media.EmbedImages.v1"
    assert header(record.headers, "ce_source") == "/bridge/redis"
    assert header(record.headers, "traceparent") == TRACE


async def test_large_job_is_split_and_keeps_its_order(rig: Rig) -> None:
    ids = [f"image-{n}" for n in range(200)]
    await rig.add({"pet_id": "101", "job_id": "big", "payload": {"image_ids": ids}})
    async with rig.running():
        commands = await rig.commands(4)
    assert [(command.part, command.parts) for command in commands] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [image_id for command in commands for image_id in command.image_ids] == ids


@pytest.mark.parametrize(
    ("fields", "error", "pet_id", "attempts"),
    [
        ({"payload": '{"job_id": "a", "payload": {}, "attempts": 4}'}, "pet_id: is required", "", "5"),
        ({"payload": '{"job_id":"b","pet_id":"1","payload":"zzz"}'}, "payload: must be an object", "1", "1"),
        ({"payload": '{"pet_id":101}'}, "pet_id: must be a string", "", "1"),
        ({"payload": "{"}, "payload: is not JSON", "", "1"),
        ({"payload": b"\xff\x00"}, "payload: is not JSON", "", "1"),
        ({"pet_id": "7", "image_ids": '["a",5]'}, "image_ids[1]: must be a string", "7", "1"),
        ({"pet_id": "7", "images": '[{"image_id":"a","pose":5}]'}, "images[0].pose: must be a string", "7", "1"),
        ({"something": "else"}, "payload: the entry has neither payload nor pet_id", "", "1"),
    ],
)
async def test_invalid_entry_is_buried_in_both_places(
    rig: Rig, fields: dict[Any, Any], error: str, pet_id: str, attempts: str
) -> None:
    entry_id = (await rig.redis.xadd(rig.stream, fields)).decode()
    await rig.add({"pet_id": "101"})
    async with rig.running():
        (record,) = await rig.records(rig.topics.deadletter.name, 1)
        await rig.commands(1)  # it does not hold up what stands behind it
        await rig.settled()
    original = fields.get("payload")
    raw = original.encode() if isinstance(original, str) else original

    ((_, buried),) = await rig.redis.xrange(rig.dead_letters)
    assert list(buried) == [b"payload", b"error", b"reason", b"attempts", b"source_id", b"failed_at"]
    assert buried[b"error"].decode().startswith(error)
    assert buried[b"reason"] == b"invalid"
    assert buried[b"attempts"].decode() == attempts
    assert buried[b"source_id"].decode() == f"{rig.stream}/{entry_id}"
    assert buried[b"failed_at"].endswith(b"+00:00")
    assert buried[b"payload"] == raw if raw is not None else json.loads(buried[b"payload"]) == fields

    letter = json.loads(record.value)
    assert (letter["subject"], letter["kind"], letter["attempts"]) == ("entry", "invalid", int(attempts))
    assert letter["reason"].startswith(error)
    assert letter["source_id"] == f"{rig.stream}/{entry_id}"
    assert base64.b64decode(letter["payload"]) == buried[b"payload"]
    assert (letter["pet_id"], record.key) == (pet_id, pet_id.encode() or None)
    assert header(record.headers, "ce_type") == "media.DeadLetter.v1"
