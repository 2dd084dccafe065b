"""Dead letters over HTTP: list, show, requeue, discard. What is answered with 202 stands in the topic."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from app.local.kafka import KafkaServer
from projections.dead_letters import RecordedAction, record_actions
from schemas.commands import EmbedImages, decode_command
from schemas.dead_letters import DeadLetterAction, action_id, decode_action
from schemas.headers import header
from schemas.insights import Insight
from schemas.topics import Topics
from tests.conftest import TEST_PARTITIONS
from tests.contract.web_rig import Api, Reply, Stores, nowhere, serving
from tests.integration.projections.letters import letter, letter_uuid, write
from tests.integration.projections.test_jobs import at, queued, record

LETTERS = "/internal/dead-letters"
SAID = {"who": "ann", "why": "storage is back"}


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
    """The API without Kafka: enough for what sends nothing."""
    async with serving(Stores(migrated_url, redis_url, nowhere(), Topics("none.")), tmp_path) as running:
        yield running


async def sent(stores: Stores) -> list[ConsumerRecord]:
    """Every record on the topic of actions, by partition."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=stores.bootstrap_servers, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(stores.topics.deadletter_actions.name, n) for n in range(TEST_PARTITIONS)]
        ends = await consumer.end_offsets(partitions)
        consumer.assign(partitions)
        records: list[ConsumerRecord] = []
        while len(records) < sum(ends.values()):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                records += batch
        return records
    finally:
        await consumer.stop()


async def actions(stores: Stores) -> list[DeadLetterAction]:
    return [decode_action(each.value) for each in await sent(stores)]


async def project(api: Api, stores: Stores) -> None:
    """Write the actions that were sent to Postgres, as the projector does."""
    recorded = [RecordedAction(decode_action(r.value), r.value, r.partition, r.offset) for r in await sent(stores)]
    async with api.pool.acquire() as connection, connection.transaction():
        await record_actions(connection, recorded)


async def post(api: Api, path: str, **body: Any) -> Reply:
    return await api.call("POST", f"{LETTERS}{path}", json.dumps(body).encode())


def data(reply: Reply) -> Any:
    document = json.loads(reply.body)
    assert list(document) == ["api_version", "data", "meta", "error"]
    return document["data"]


def error(reply: Reply) -> Any:
    document = json.loads(reply.body)
    assert document["data"] is None
    return document["error"]


# ---- reading


async def test_letters_are_listed_newest_first_and_paged(reading: Api) -> None:
    await write(reading.pool, letter("a", 1), letter("b", 2, subject="job"), letter("c", 3))
    reply = await reading.call("GET", f"{LETTERS}?limit=2")
    assert reply.status == 200
    assert [each["id"] for each in data(reply)] == [str(letter_uuid("c")), str(letter_uuid("b"))]
    cursor = json.loads(reply.body)["meta"]["next_cursor"]
    reply = await reading.call("GET", f"{LETTERS}?limit=2&cursor={cursor}")
    (row,) = data(reply)
    assert json.loads(reply.body)["meta"] == {"next_cursor": None}
    assert row == {
        "id": str(letter_uuid("a")), "subject": "image", "kind": "not_found", "reason": "404 for a", "attempts": 5,
        "run": 1, "source_id": "media.jobs/0/a", "failed_at": at(1), "pet_id": "101", "job_id": "job_1",
        "image_id": "a", "payload_bytes": row["payload_bytes"], "state": "open", "acted_at": None, "who": "", "why": "",
        "action_id": None,
    }  # fmt: skip
    assert [each["subject"] for each in data(await reading.call("GET", f"{LETTERS}?subject=job&pet_id=101"))] == ["job"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=lost", "state"), ("subject=pet", "subject"), ("since=yesterday", "since"), ("until=1", "until"),
        ("limit=0", "limit"), ("limit=201", "limit"), ("cursor=x", "cursor"), ("kind=a%00", "kind"),
        ("pet=101", "pet"), ("state=all&Kind=x", "Kind"), ("state=", "state"), ("since=", "since"), ("=1", ""),
    ],
)  # fmt: skip
async def test_a_parameter_that_is_not_valid_is_named(reading: Api, query: str, field: str) -> None:
    """One that is not known would list everything."""
    reply = await reading.call("GET", f"{LETTERS}?{query}")
    assert reply.status == 422, reply.body
    assert (error(reply)["code"], error(reply)["field"]) == ("invalid_parameter", field)


async def test_the_document_says_what_the_parameters_take(reading: Api) -> None:
    """Every value it allows is taken, those next to it are not."""
    document = json.loads((await reading.call("GET", "/openapi.json", token=None)).body)
    schemas = {each["name"]: each["schema"] for each in document["paths"][LETTERS]["get"]["parameters"]}
    assert {name: schema["format"] for name, schema in schemas.items() if "format" in schema} == {
        "since": "date-time",
        "until": "date-time",
    }
    limits = schemas["limit"]["minimum"], schemas["limit"]["maximum"]
    queries = [("limit", str(limit)) for limit in limits]
    queries += [(name, value) for name in ("state", "subject") for value in schemas[name]["enum"]]
    queries += [(name, "2026-11-21T08:00:00.5Z") for name in ("since", "until")]
    assert len(queries) == 2 + 4 + 5 + 2
    for name, value in queries:
        assert (await reading.call("GET", f"{LETTERS}?{name}={value}")).status == 200
    for limit in (limits[0] - 1, limits[1] + 1):
        assert (await reading.call("GET", f"{LETTERS}?limit={limit}")).status == 422


@pytest.mark.parametrize("path", ["/{id}/requeue", "/{id}/discard", "/requeue", "/discard"])
async def test_a_body_that_is_not_compressed_as_it_says_is_answered_as_the_document_says(
    reading: Api, path: str
) -> None:
    document = json.loads((await reading.call("GET", "/openapi.json", token=None)).body)
    url = f"{LETTERS}{path}".replace("{id}", str(letter_uuid("a")))
    reply = await reading.call("POST", url, b"{}", headers={"Content-Encoding": "gzip"})
    assert reply.status == 400
    assert "400" in document["paths"][f"{LETTERS}{path}"]["post"]["responses"]


async def test_a_letter_is_shown_with_its_payload(reading: Api) -> None:
    await write(reading.pool, letter("a"), letter("b", payload=b"\xff\x00"))
    shown = data(await reading.call("GET", f"{LETTERS}/{letter_uuid('a')}"))
    assert shown["payload_encoding"] == "text"
    assert decode_command(shown["payload"].encode()).image_ids == ("a",)
    shown = data(await reading.call("GET", f"{LETTERS}/{letter_uuid('b')}"))
    assert (shown["payload"], shown["payload_encoding"]) == ("/wA=", "base64")


@pytest.mark.parametrize("path", ["x", "requeue", str(letter_uuid("none")), "%00"])
async def test_an_unknown_letter_is_not_found(reading: Api, path: str) -> None:
    reply = await reading.call("GET", f"{LETTERS}/{path}")
    assert (reply.status, error(reply)["code"]) == (404, "dead_letter_not_found")
    if path != "requeue":
        reply = await post(reading, f"/{path}/requeue", **SAID)
        assert (reply.status, error(reply)["code"]) == (404, "dead_letter_not_found")


# ---- requeue and discard of one


async def test_a_requeued_image_stands_in_the_topic_as_its_jobs_next_run(api: Api, stores: Stores) -> None:
    await write(api.pool, letter("a"))
    reply = await post(api, f"/{letter_uuid('a')}/requeue", **SAID)
    assert reply.status == 202
    (said,) = data(reply)["actions"]
    (record_,) = await sent(stores)
    action = decode_action(record_.value)
    assert said == {
        "id": action.id, "kind": "requeue", "pet_id": "101", "job_id": "job_1", "letters": 1, "commands": 1,
    }  # fmt: skip
    assert (action.who, action.why, action.letters) == ("ann", "storage is back", (str(letter_uuid("a")),))
    (command,) = action.commands
    assert (command.run, command.attempt, command.image_ids) == (2, 1, ("a",))
    assert command.requeue == action.id.replace("-", "")[:16]
    assert record_.key == b"101"
    assert header(record_.headers, "ce_id") == action.id == action_id("requeue", action.letters)
    assert header(record_.headers, "ce_type") == "media.DeadLetterAction.v1"
    assert (header(record_.headers, "ce_source"), header(record_.headers, "ce_time")) == ("/web", action.at)


async def test_a_second_requeue_is_the_same_action_before_and_after_it_was_projected(api: Api, stores: Stores) -> None:
    await write(api.pool, letter("a"))
    path = f"/{letter_uuid('a')}/requeue"
    first = data(await post(api, path, **SAID))
    assert data(await post(api, path, **SAID)) == first
    one, two = await actions(stores)
    assert msgspec.structs.replace(one, at="") == msgspec.structs.replace(two, at="")
    assert [command.id for command in one.commands] == [command.id for command in two.commands]

    await project(api, stores)
    assert data(await post(api, path, who="bob", why="again")) == first
    *_, third = await sent(stores)
    assert third.value == (await sent(stores))[0].value, "the recorded action, byte for byte"
    shown = data(await api.call("GET", f"{LETTERS}/{letter_uuid('a')}"))
    assert (shown["state"], shown["who"], shown["why"]) == ("requeued", "ann", "storage is back")
    assert shown["action_id"] == first["actions"][0]["id"]


async def test_a_jobs_letter_stands_for_its_open_image_letters(api: Api, stores: Stores) -> None:
    await write(api.pool, letter("j", subject="job", image_id=""), *(letter(f"i{n}") for n in range(130)))
    await write(api.pool, letter("other", job_id="job_2"), letter("later", run=2))
    reply = await post(api, f"/{letter_uuid('j')}/requeue", **SAID)
    assert [(each["letters"], each["commands"]) for each in data(reply)["actions"]] == [(131, 3)]
    asked = [image for each in await actions(stores) for command in each.commands for image in command.image_ids]
    assert sorted(asked) == sorted(f"i{n}" for n in range(130))


async def test_what_is_said_of_images_is_requeued_with_them_from_all_commands_of_their_run(
    api: Api, stores: Stores
) -> None:
    said = {name: Insight(quality_score=0.5, pose=name) for name in "abcde"}
    for part, names in enumerate(("ab", "cd", "e"), start=1):
        of_part = {name: said[name] for name in names}
        command = EmbedImages(
            pet_id="101", job_id="job_1", part=part, parts=3, image_ids=tuple(names), job_images=5, insights=of_part
        )
        about: dict[str, Any] = {"source_id": f"media.jobs/0/{part}", "payload": msgspec.json.encode(command)}
        await write(api.pool, *(letter(name, **about) for name in names if name != "d"))
    reply = await post(api, "/requeue", filter={}, expected_count=4, **SAID)
    assert [each["letters"] for each in data(reply)["actions"]] == [4]
    ((command,),) = [action.commands for action in await actions(stores)]
    assert command.image_ids == ("a", "b", "c", "e")
    assert command.insights == {name: said[name] for name in "abce"}


async def test_what_a_filter_takes_of_a_run_is_one_requeue_with_one_outcome(api: Api, stores: Stores) -> None:
    """Whatever the letters are about: images, the job, facts of its parts."""
    await record(api.pool, queued(parts=2), queued(part=2, parts=2))
    facts = [letter(f"f{n}", subject="fact", kind="not_folded", image_id="", payload=b"") for n in range(2)]
    job = letter("j", subject="job", kind="abandoned", image_id="", payload=b"")
    await write(api.pool, *facts, job, *(letter(f"d{n}") for n in range(100)), letter("later", run=2))
    reply = await post(api, "/requeue", filter={}, expected_count=104, **SAID)
    assert [(each["letters"], each["commands"]) for each in data(reply)["actions"]] == [(103, 2), (1, 1)]
    runs = {each.id: {command.job for command in each.commands} for each in await actions(stores)}
    assert [len(jobs) for jobs in runs.values()] == [1, 1]
    assert len(set.union(*runs.values())) == 2
    await project(api, stores)
    assert data(await post(api, "/requeue", filter={}, **SAID)) == {"count": 0}


async def test_an_abandoned_job_has_its_commands_submitted_again(api: Api, stores: Stores) -> None:
    await record(api.pool, queued(parts=2), queued(part=2, parts=2))
    await write(api.pool, letter("j", subject="job", kind="abandoned", image_id="", payload=b""))
    assert (await post(api, f"/{letter_uuid('j')}/requeue", **SAID)).status == 202
    (action,) = await actions(stores)
    assert [(command.run, command.image_ids) for command in action.commands] == [(2, ("i1", "i2"))]


async def test_images_are_requeued_though_their_runs_commands_are_not_known(api: Api, stores: Stores) -> None:
    await write(api.pool, letter("a"), letter("f", subject="fact", kind="not_folded", image_id="", payload=b""))
    body = data(await post(api, "/requeue", filter={}, expected_count=2, **SAID))
    assert [each["letters"] for each in body["actions"]] == [1]
    assert [each["id"] for each in body["refused"]] == [str(letter_uuid("f"))]
    assert [command.image_ids for action in await actions(stores) for command in action.commands] == [("a",)]


async def test_a_discarded_letter_is_settled_and_submits_nothing(api: Api, stores: Stores) -> None:
    await write(api.pool, letter("a"))
    path = f"/{letter_uuid('a')}"
    assert (await post(api, f"{path}/discard", **SAID)).status == 202
    await project(api, stores)
    (action,) = await actions(stores)
    assert (action.kind, action.commands) == ("discard", ())
    assert data(await api.call("GET", f"{LETTERS}?state=discarded"))[0]["who"] == "ann"
    assert data(await post(api, f"{path}/discard", **SAID))["actions"][0]["id"] == action.id
    assert (await post(api, f"{path}/requeue", **SAID)).status == 202, "a discard can be taken back"


async def test_a_requeued_letter_cannot_be_discarded(api: Api, stores: Stores) -> None:
    await write(api.pool, letter("a"))
    await post(api, f"/{letter_uuid('a')}/requeue", **SAID)
    await project(api, stores)
    reply = await post(api, f"/{letter_uuid('a')}/discard", **SAID)
    assert reply.status == 409
    assert error(reply) == {"code": "dead_letter_refused", "message": "it was requeued already"}


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"subject": "job"}, "no open letter of an image"),
        ({"payload": b"{"}, "cannot be read"),
        ({"subject": "command", "kind": "unreadable", "payload": b"{"}, "still cannot be read: not a command"),
        (
            {"subject": "entry", "kind": "invalid", "payload": b'{"image_ids":[]}'},
            "still not valid: pet_id: is required",
        ),
        ({"subject": "fact", "kind": "not_folded"}, "no command of run 1 of job job_1 is known"),
        ({"subject": "job", "kind": "abandoned"}, "no command of run 1 of job job_1 is known"),
        ({"subject": "fact", "kind": "unreadable"}, "this release cannot read"),
        ({"subject": "fact", "kind": "not_projected"}, "stands in its topic"),
        ({"subject": "job", "kind": "not_projected"}, "stands in its topic"),
    ],
)
async def test_what_cannot_be_submitted_is_refused_with_the_reason(
    reading: Api, more: dict[str, Any], reason: str
) -> None:
    await write(reading.pool, letter("a", **more))
    reply = await post(reading, f"/{letter_uuid('a')}/requeue", **SAID)
    assert reply.status == 409
    assert error(reply)["code"] == "dead_letter_refused"
    assert reason in error(reply)["message"]


async def test_a_fact_has_its_jobs_commands_submitted_again(api: Api, stores: Stores) -> None:
    await record(api.pool, queued(parts=2), queued(part=2, parts=2))
    await write(api.pool, letter("f", subject="fact", kind="not_folded", payload=b""))
    assert (await post(api, f"/{letter_uuid('f')}/requeue", **SAID)).status == 202
    (action,) = await actions(stores)
    assert [(command.run, command.image_ids) for command in action.commands] == [(2, ("i1", "i2"))]


async def test_an_entry_and_a_command_that_are_valid_now_are_submitted(api: Api, stores: Stores) -> None:
    command = EmbedImages(pet_id="101", job_id="job_7", image_ids=("z",), job_images=1)
    await write(
        api.pool,
        letter("c", subject="command", kind="unreadable", job_id="", payload=msgspec.json.encode(command)),
        letter("e", subject="entry", pet_id="", job_id="", source_id="s/1763711364600-0", payload=b'{"pet_id":"104"}'),
    )
    for name in ("c", "e"):
        assert (await post(api, f"/{letter_uuid(name)}/requeue", **SAID)).status == 202
    made = {each.pet_id: each for each in await actions(stores)}
    assert made["101"].commands == (command,)
    (from_entry,) = made["104"].commands
    assert (from_entry.job_id, from_entry.run) == ("entry-1763711364600-0", 1)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b"\xff", "body"),
        (b"[" * 5000, "body"),
        (b'{"who":"ann"}', "why"),
        (b'{"why":"x"}', "who"),
        (b'{"who":"","why":"x"}', "who"),
        (b'{"who":"  ","why":"x"}', "who"),
        (b'{"who":7,"why":"x"}', "who"),
        (b'{"who":"ann","why":"x","force":true}', "force"),
        (json.dumps({"who": "a" * 201, "why": "x"}).encode(), "who"),
    ],
)
async def test_a_body_that_does_not_say_who_and_why_is_refused(reading: Api, body: bytes, field: str) -> None:
    await write(reading.pool, letter("a"))
    reply = await reading.call("POST", f"{LETTERS}/{letter_uuid('a')}/discard", body)
    assert reply.status == 422
    assert (error(reply)["code"], error(reply)["field"]) == ("invalid_body", field)
    assert error(reply)["message"]


# ---- requeue and discard by filter


async def test_a_filter_is_counted_first_and_acted_on_only_with_the_count(api: Api, stores: Stores) -> None:
    await write(
        api.pool, *(letter(f"{job}-{n}", job_id=job) for job in ("a", "b") for n in range(3)), letter("c", kind="x")
    )
    taken = {"filter": {"kind": "not_found"}, **SAID}
    reply = await post(api, "/requeue", **taken)
    assert (reply.status, data(reply)) == (200, {"count": 6})
    reply = await post(api, "/requeue", **taken, expected_count=5)
    assert reply.status == 409
    assert (error(reply)["code"], error(reply)["count"]) == ("count_changed", 6)
    assert await sent(stores) == []

    reply = await post(api, "/requeue", **taken, expected_count=6)
    assert reply.status == 202
    assert [(each["job_id"], each["letters"]) for each in data(reply)["actions"]] == [("a", 3), ("b", 3)]
    assert {each.id for each in await actions(stores)} == {each["id"] for each in data(reply)["actions"]}
    await project(api, stores)
    assert data(await post(api, "/requeue", **taken)) == {"count": 0}
    assert data(await post(api, "/requeue", filter={}, **SAID)) == {"count": 1}


async def test_a_filter_requeued_twice_gives_identical_messages(api: Api, stores: Stores) -> None:
    await write(api.pool, *(letter(str(n), job_id=f"job_{n % 3}") for n in range(30)))
    first = data(await post(api, "/requeue", filter={}, expected_count=30, **SAID))
    await project(api, stores)
    once = sorted((record_.value, header(record_.headers, "ce_id")) for record_ in await sent(stores))
    again = await post(api, "/requeue", filter={"state": "requeued"}, expected_count=30, who="bob", why="again")
    assert sorted(each["id"] for each in data(again)["actions"]) == sorted(each["id"] for each in first["actions"])
    twice = sorted((record_.value, header(record_.headers, "ce_id")) for record_ in await sent(stores))
    assert twice == sorted(once * 2)


async def test_what_cannot_be_requeued_does_not_keep_the_rest_back(api: Api, stores: Stores) -> None:
    await write(api.pool, letter("a"), letter("e", subject="entry", payload=b"{", pet_id="", job_id=""))
    reply = await post(api, "/requeue", filter={}, expected_count=2, **SAID)
    assert reply.status == 202
    body = data(reply)
    assert (len(body["actions"]), body["refused_count"]) == (1, 1)
    assert body["refused"][0]["id"] == str(letter_uuid("e"))
    assert "still not valid" in body["refused"][0]["reason"]
    assert len(await actions(stores)) == 1


async def test_letters_of_no_job_are_discarded_too(api: Api, stores: Stores) -> None:
    await write(api.pool, *(letter(str(n), subject="entry", pet_id="", job_id="") for n in range(70)))
    reply = await post(api, "/discard", filter={"subject": "entry"}, expected_count=70, **SAID)
    assert [each["letters"] for each in data(reply)["actions"]] == [64, 6]
    assert {record_.key for record_ in await sent(stores)} == {None}
    await project(api, stores)
    assert data(await post(api, "/discard", filter={}, **SAID)) == {"count": 0}


async def test_too_many_letters_are_refused_with_the_count(api: Api, stores: Stores, monkeypatch: Any) -> None:
    monkeypatch.setattr("app.views.dead_letters.MAX_LETTERS", 2)
    await write(api.pool, *(letter(str(n)) for n in range(3)))
    reply = await post(api, "/discard", filter={}, expected_count=3, **SAID)
    assert (reply.status, error(reply)["code"], error(reply)["count"]) == (409, "too_many_letters", 3)
    assert await sent(stores) == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (SAID, "filter"),
        ({"filter": {"pet": "101"}, **SAID}, "filter.pet"),
        ({"filter": {"state": "lost"}, **SAID}, "filter.state"),
        ({"filter": {"since": "x"}, **SAID}, "filter.since"),
        ({"filter": {}, **SAID, "expected_count": -1}, "expected_count"),
        ({"filter": {}, **SAID, "expected_count": "1"}, "expected_count"),
        ({"filter": {}, "who": "ann"}, "why"),
    ],
)
async def test_a_filter_that_is_not_valid_is_refused_and_takes_nothing(
    reading: Api, body: dict[str, Any], field: str
) -> None:
    """A field that is not known must not widen what is taken."""
    reply = await post(reading, "/discard", **body)
    assert reply.status == 422
    assert (error(reply)["code"], error(reply)["field"]) == ("invalid_body", field)


# ---- what is away


async def test_nothing_is_accepted_while_kafka_is_away(stores: Stores, tmp_path: Path) -> None:
    down = Stores(stores.database_url, stores.redis_url, nowhere(), stores.topics)
    async with serving(down, tmp_path) as api:
        await write(api.pool, letter("a"))
        for path, more in ((f"/{letter_uuid('a')}/requeue", {}), ("/discard", {"filter": {}, "expected_count": 1})):
            reply = await post(api, path, **SAID, **more)
            assert (reply.status, error(reply)["code"]) == (503, "kafka_unavailable")
        assert data(await post(api, "/requeue", filter={}, **SAID)) == {"count": 1}
        assert len(data(await api.call("GET", LETTERS))) == 1


async def test_the_store_being_away_is_told(stores: Stores, tmp_path: Path) -> None:
    down = Stores(f"postgresql://postgres@{nowhere()}/none", stores.redis_url, stores.bootstrap_servers, stores.topics)
    async with serving(down, tmp_path) as api:
        path = f"{LETTERS}/{letter_uuid('a')}"
        replies = [await api.call("GET", LETTERS), await api.call("GET", path)]
        replies += [
            await post(api, f"/{letter_uuid('a')}/requeue", **SAID),
            await post(api, "/discard", filter={}, **SAID),
        ]
        assert [(each.status, error(each)["code"]) for each in replies] == [(503, "store_unavailable")] * 4


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "/x"), ("POST", "/x/requeue"), ("POST", "/x/discard"), ("POST", "/discard")],
)
async def test_every_route_needs_the_token(reading: Api, method: str, path: str) -> None:
    assert (await reading.call(method, f"{LETTERS}{path}", b"{}", token=None)).status == 401
