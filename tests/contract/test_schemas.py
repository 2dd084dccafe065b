"""Messages that other teams and old logs hold: their bytes are read for ever, and their fields are only ever added."""

from __future__ import annotations

import msgspec
import pytest

from schemas import codec, facts, public
from schemas.commands import EmbedImages, decode_command, split_images
from schemas.errors import DeadLetter, InvalidInput, UnknownVersion
from schemas.headers import build_headers, header
from schemas.insights import Insight
from schemas.topics import Topics
from schemas.upcast import UPCASTS, upcast
from schemas.versions import ClusterChange, Hero, MemberChange, PetVersion
from tests.albums import Directions, embedded, image, measured

TIME = "2026-11-21T07:49:24.600874+00:00"


def _said(insight: dict[str, object]) -> bytes:
    return msgspec.json.encode({"pet_id": "p", "job_id": "j", "image_ids": ["i"], "insights": {"i": insight}})


def test_a_job_status_is_this_json() -> None:
    status = public.JobStatus(pet_id="101", job_id="j", status="succeeded", at=TIME, version=3, placed=2)
    assert msgspec.json.encode(status) == (
        b'{"pet_id":"101","job_id":"j","status":"succeeded","at":"2026-11-21T07:49:24.600874+00:00","attempt":1,'
        b'"run":1,"version":3,"placed":2,"known":0,"failed":0,"failed_images":[],"error":""}'
    )


def test_a_snapshot_of_clusters_is_this_json() -> None:
    message = public.ClustersUpdated(
        pet_id="101",
        version=1,
        updated_at=TIME,
        job_id="j",
        cluster_count=1,
        image_count=2,
        unclustered_count=0,
        clusters=(
            public.SnapshotCluster(
                id="101-cluster-0",
                label="Cluster 0",
                hero_image_id="a",
                member_count=2,
                members=(public.SnapshotMember("a", 0.5),),
            ),
        ),
        link="/internal/pets/101/clusters/latest",
    )
    assert msgspec.json.encode(message) == (
        b'{"pet_id":"101","version":1,"updated_at":"2026-11-21T07:49:24.600874+00:00","job_id":"j","cluster_count":1,'
        b'"image_count":2,"unclustered_count":0,"clusters":[{"id":"101-cluster-0","label":"Cluster 0",'
        b'"hero_image_id":"a","member_count":2,"members":[{"image_id":"a","score":0.5}]}],'
        b'"link":"/internal/pets/101/clusters/latest"}'
    )


def test_a_dead_letter_keeps_the_original_bytes_as_base64() -> None:
    record = public.DeadLetterRecord(
        subject="entry", kind="invalid", reason="r", attempts=1, source_id="s/1-0", failed_at=TIME, payload=b"\xff{"
    )
    assert msgspec.json.decode(msgspec.json.encode(record))["payload"] == "/3s="
    assert msgspec.json.decode(msgspec.json.encode(record), type=public.DeadLetterRecord) == record


@pytest.mark.parametrize(
    "fact",
    [
        embedded([image("i", Directions(1).near(Directions(1).new()))], labels=("Walk",), coverage={"a": 0.5}),
        facts.PolicyChanged(policy=facts.Policy()),
        facts.ModelPromoted(model="m@1", dimension=8),
        facts.ReclusterRequested(request_id="r"),
        facts.ImagesRemoved(request_id="r", image_ids=("i",)),
        facts.DecisionSubmitted(decision_id="d", kind="rename", expected_version=3, arguments={"label": "Rex"}),
        facts.PetPurged(purge_id="p", accepted_until=TIME, last_version=4, next_cluster=2),
    ],
    ids=lambda fact: type(fact).__name__,
)
def test_facts_survive_the_log(fact: facts.Fact) -> None:
    envelope, decoded = codec.decode_fact(codec.encode_fact(fact, event_id="e", time=TIME, pet_id="101"))
    assert decoded == fact
    assert (envelope.event_id, envelope.time, envelope.pet_id, envelope.key_id) == ("e", TIME, "101", "")
    assert codec.fact_type(fact) == f"media.{type(fact).__name__}.v1"


def test_images_of_which_nothing_is_said_keep_their_bytes() -> None:
    said = Insight(quality_score=0.25, label="Walks")
    plain = measured("i", Directions(1).near(Directions(1).new()), bytes(range(32)))
    told = msgspec.structs.replace(plain, image_id="j", insight=said)
    raw = codec.encode_fact(embedded([plain, told]), event_id="e", time=TIME, pet_id="101")
    first, second = msgspec.msgpack.decode(raw)["data"]["images"]
    assert len(first) == 9
    assert first == msgspec.to_builtins(plain, builtin_types=[bytes])[:9]
    assert second == ["j", *first[1:], {"quality_score": 0.25, "label": "Walks"}]
    decoded = codec.decode_fact(raw)[1]
    assert isinstance(decoded, facts.ImagesEmbedded)
    assert decoded.images == (plain, told)
    assert codec.encode_fact(decoded, event_id="e", time=TIME, pet_id="101") == raw


def test_versions_survive_the_topic() -> None:
    version = PetVersion(
        pet_id="101",
        version=2,
        time=TIME,
        partition=1,
        offset=9,
        job_id="j",
        model="m@1",
        policy_id="p",
        max_cluster_size=24,
        members=(MemberChange("i", 0, 0.5, "joined"),),
        clusters=(ClusterChange(0, "Cluster 0", 2, 0.9, (Hero("i", 0.7),)),),
        cluster_count=1,
        image_count=2,
        unclustered_count=0,
    )
    assert codec.decode_version(codec.encode_version(version)) == version


def test_a_newer_writers_fields_are_skipped_and_its_versions_refused() -> None:
    fact = facts.PolicyChanged(policy=facts.Policy())
    raw = msgspec.msgpack.decode(codec.encode_fact(fact, event_id="e", time=TIME, pet_id=""))
    raw["added_later"] = 1
    raw["data"]["added_later"] = [1, 2]
    assert codec.decode_fact(msgspec.msgpack.encode(raw))[1] == facts.PolicyChanged(policy=facts.Policy())
    with pytest.raises(UnknownVersion, match="version 2"):
        codec.decode_fact(msgspec.msgpack.encode({**raw, "version": 2}))
    with pytest.raises(UnknownVersion, match="PetTeleported"):
        codec.decode_fact(msgspec.msgpack.encode({**raw, "type": "PetTeleported"}))


def test_an_old_fact_is_upcast_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(UPCASTS, ("ModelPromoted", 1), lambda data: {**data, "dimension": 8})
    monkeypatch.setitem(UPCASTS, ("ModelPromoted", 2), lambda data: {**data, "model": data["model"] + "@1"})
    monkeypatch.setitem(__import__("schemas.upcast", fromlist=["CURRENT"]).CURRENT, facts.ModelPromoted, 3)
    assert upcast("ModelPromoted", 1, {"model": "m"}) == {"model": "m@1", "dimension": 8}


@pytest.mark.parametrize(
    ("raw", "error", "names"),
    [
        (b"", DeadLetter, "not a command"),
        (b"[1,2]", DeadLetter, "not a command"),
        (b'{"pet_id": 5, "job_id": "j"}', DeadLetter, "pet_id"),
        (b'{"pet_id": "p", "job_id": "j", "image_ids": ["ok", ""]}', InvalidInput, r"image_ids\[1\]"),
        (b'{"pet_id": "a/b", "job_id": "j"}', InvalidInput, "pet_id"),
        (b'{"pet_id": "p", "job_id": "j", "version": 2}', UnknownVersion, "version"),
        (b'{"pet_id": 5, "version": 2}', UnknownVersion, "newer release"),
        (b'{"type": "Dance", "image_ids": {}}', UnknownVersion, "newer release"),
        (b'{"pet_id": "p", "job_id": "j", "type": "Dance"}', UnknownVersion, "type"),
        (b'{"pet_id": "p", "job_id": "j", "version": 0}', DeadLetter, "not a command.*version"),
        (b'{"pet_id": "p", "job_id": "j", "version": "2"}', DeadLetter, "not a command.*version"),
        (b'{"type":5}', DeadLetter, "not a command.*type"),
        (b'{"version": 2} and more', DeadLetter, "not a command"),
        (b"[" * 100_000, DeadLetter, "not a command"),
        (b'{"pet_id": "p", "job_id": "j", "part": 3, "parts": 2}', InvalidInput, "part: "),
        (b'{"pet_id": "p", "job_id": "j", "enqueued_at": "yesterday"}', InvalidInput, "enqueued_at"),
        (b'{"pet_id": "p", "job_id": "j", "enqueued_at": "2026-11-21T07:49:24"}', InvalidInput, "enqueued_at"),
        (msgspec.json.encode({"pet_id": "p", "job_id": "j", "image_ids": ["i"] * 65}), InvalidInput, "image_ids: "),
        (b'{"pet_id": "p", "job_id": "j", "insights": {"i": {}}}', InvalidInput, "insights.i: is about"),
        (b'{"pet_id": "p", "job_id": "j", "insights": {"i j": {}}}', InvalidInput, "insights: must be 1-128"),
        (_said({"quality_score": 1.5}), InvalidInput, "insights.i.quality_score: must lie"),
        (_said({"quality_score": "x"}), DeadLetter, r"not a command.*insights"),
        (_said({"pose": "x" * 129}), InvalidInput, "insights.i.pose: has 129"),
        (_said({"label": "x" * 129}), InvalidInput, "insights.i.label: has 129"),
        (_said({"taken_at": "noon"}), InvalidInput, "insights.i.taken_at: is not"),
    ],
)
def test_commands_that_cannot_be_read_name_the_field(raw: bytes, error: type[DeadLetter], names: str) -> None:
    with pytest.raises(DeadLetter, match=names) as caught:
        decode_command(raw)
    assert type(caught.value) is error, "UnknownVersion stops a process, so nothing else may pass for it"


@pytest.mark.parametrize(("images", "sizes"), [(0, [0]), (1, [1]), (64, [64]), (65, [64, 1]), (200, [64, 64, 64, 8])])
def test_a_job_is_split_into_commands_of_64(images: int, sizes: list[int]) -> None:
    template = EmbedImages(pet_id="p", job_id="j")
    commands = split_images(template, [f"i{n}" for n in range(images)])
    assert [len(command.image_ids) for command in commands] == sizes
    assert [(command.part, command.parts) for command in commands] == [(n + 1, len(sizes)) for n in range(len(sizes))]
    assert {command.job_images for command in commands} == {images}


def test_headers_are_cloudevents_in_binary_mode() -> None:
    headers = build_headers(event_id="e", event_type="t.v1", source="/s", time=TIME, traceparent="00-a-b-01")
    assert [name for name, _ in headers] == [
        "ce_specversion",
        "ce_id",
        "ce_type",
        "ce_source",
        "ce_time",
        "traceparent",
    ]
    assert header(headers, "ce_id") == "e"
    assert (header(headers, "nope"), header(None, "ce_id"), header([("x", b"\xff")], "x")) == ("", "", "\ufffd")


def test_the_log_is_kept_for_ever_and_the_public_snapshot_is_compacted() -> None:
    topics = Topics("t.")
    assert topics.pet_log.configs()["retention.ms"] == "-1"
    assert topics.clusters_updated.configs()["cleanup.policy"] == "compact"
    assert all(topic.name.startswith("t.media.") for topic in topics.all())
