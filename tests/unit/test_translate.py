"""A job as a caller wrote it becomes commands, or an error that names the field."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridges.translate import JSON_FIELDS, TEXT_FIELDS, identify_entry, parse_entry, parse_job, to_commands
from schemas.commands import EmbedImages, decode_command
from schemas.errors import InvalidInput
from schemas.insights import Insight

ENTRY = "1700000000000-0"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
DETAILS: dict[str, Any] = {
    "image_ids": ["101000000", "101000001"],
    "labels": ["Portraits"],
    "coverage": {"portrait": 0.6},
    "quality_score": 0.85,
}
REQUEST: dict[str, Any] = {
    "pet_id": "101",
    "job_id": "job_1",
    "reason": "insights_ready",
    "force": True,
    "payload": DETAILS,
    "metadata": {"triggered_by": "auth-service"},
}
ENVELOPE: dict[str, Any] = {
    "job_id": "job_1",
    "pet_id": "101",
    "payload": REQUEST,
    "attempts": 2,
    "enqueued_at": "2026-11-21T07:49:24.600874+00:00",
}


def entry(document: object) -> dict[bytes, bytes]:
    return {b"payload": json.dumps(document).encode()}


def refused(fields: dict[bytes, bytes]) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        parse_entry(fields, ENTRY)
    return caught.value


def test_nested_envelope() -> None:
    job = parse_entry(entry(ENVELOPE), ENTRY)
    assert (job.pet_id, job.job_id, job.image_ids) == ("101", "job_1", ("101000000", "101000001"))
    assert (job.reason, job.force, job.labels) == ("insights_ready", True, ("Portraits",))
    assert (job.coverage, job.quality_score) == ({"portrait": 0.6}, 0.85)
    assert job.metadata == {"triggered_by": "auth-service"}
    assert job.enqueued_at == "2026-11-21T07:49:24.600874+00:00"


def test_job_flat_under_payload_means_the_same() -> None:
    flat = {**DETAILS, "reason": "insights_ready", "force": True, "metadata": {"triggered_by": "auth-service"}}
    assert parse_entry(entry({**ENVELOPE, "payload": flat}), ENTRY) == parse_entry(entry(ENVELOPE), ENTRY)


def test_flat_field_list_means_the_same() -> None:
    fields = {
        b"job_id": b"job_1",
        b"pet_id": b"101",
        b"image_ids": json.dumps(DETAILS["image_ids"]).encode(),
        b"reason": b"insights_ready",
        b"force": b"true",
        b"quality_score": b"0.85",
        b"metadata": b'{"triggered_by":"auth-service"}',
        b"labels": b'["Portraits"]',
        b"coverage": b'{"portrait":0.6}',
        b"attempts": b"2",
        b"enqueued_at": b"2026-11-21T07:49:24.600874+00:00",
    }
    assert parse_entry(fields, ENTRY) == parse_entry(entry(ENVELOPE), ENTRY)


def test_http_body_means_the_same_but_for_what_the_envelope_adds() -> None:
    job = parse_job(REQUEST, default_job_id="made-up", default_enqueued_at="2026-11-21T07:49:24.600874+00:00")
    assert job == parse_entry(entry(ENVELOPE), ENTRY)


def test_minimal_entry_names_no_image_and_gets_its_job_id_from_the_entry() -> None:
    job = parse_entry(entry({"pet_id": "101"}), ENTRY)
    assert (job.pet_id, job.job_id, job.image_ids) == ("101", f"entry-{ENTRY}", ())
    assert job.enqueued_at == "2023-11-14T22:13:20.000000+00:00"
    assert len(to_commands(job, source="redis", now=NOW)) == 1


def test_what_a_producer_writes_as_null_is_absent() -> None:
    nulls = {"job_id": None, "reason": None, "metadata": None}
    job = parse_entry(entry({"pet_id": "101", "payload": {"pet_id": "101", **nulls, "payload": {}}}), ENTRY)
    assert (job.job_id, job.reason, job.metadata) == (f"entry-{ENTRY}", "", {})


@pytest.mark.parametrize(
    "fields",
    [
        {**entry(ENVELOPE), b"traceparent": TRACE.encode()},
        entry({**ENVELOPE, "traceparent": TRACE}),
        entry({"pet_id": "101", "payload": {"metadata": {"traceparent": TRACE}}}),
        entry({"pet_id": "101", "metadata": {"traceparent": TRACE}, "payload": {"metadata": {}}}),
        {b"pet_id": b"101", b"traceparent": TRACE.encode()},
    ],
)
def test_trace_context_is_found(fields: dict[bytes, bytes]) -> None:
    assert parse_entry(fields, ENTRY).traceparent == TRACE


def test_invalid_trace_context_is_ignored() -> None:
    assert parse_entry({**entry(ENVELOPE), b"traceparent": b"nonsense"}, ENTRY).traceparent == ""


def test_repeated_images_collapse_in_order() -> None:
    job = parse_entry(entry({"pet_id": "1", "payload": {"image_ids": ["b", "a", "b", "c", "a"]}}), ENTRY)
    assert job.image_ids == ("b", "a", "c")


TOLD: list[dict[str, Any]] = [
    {"image_id": "c", "quality_score": 1, "pose": "frontal", "label": "Portraits", "taken_at": "2026-05-01T09:00:00Z"},
    {"image_id": "a", "quality_score": None, "pose": "", "label": None, "taken_at": None, "breed": "beagle"},
    {"image_id": "d", "pose": "sitting", "label": "Naps"},
    {"image_id": "d", "pose": None, "label": "Walks", "taken_at": "2026-05-01"},
]


def test_what_is_said_of_images_is_taken_with_them() -> None:
    """Null and what is not known count as absent; of what is said twice, the later word counts."""
    payload = {"image_ids": ["b", "a"], "images": TOLD}
    job = parse_entry(entry({"pet_id": "1", "payload": payload}), ENTRY)
    assert job.image_ids == ("b", "a", "c", "d")
    assert job.insights == {
        "c": Insight(quality_score=1.0, pose="frontal", label="Portraits", taken_at="2026-05-01T09:00:00+00:00"),
        "d": Insight(pose="sitting", label="Walks", taken_at="2026-05-01T00:00:00"),
    }
    flat = {b"pet_id": b"1", b"image_ids": b'["b","a"]', b"images": json.dumps(TOLD).encode()}
    assert parse_entry(flat, ENTRY) == job
    no_ids = parse_entry(entry({"pet_id": "1", "images": TOLD}), ENTRY)
    assert (no_ids.image_ids, no_ids.insights) == (("c", "a", "d"), job.insights)


@pytest.mark.parametrize("images", [None, []])
def test_images_of_which_nothing_is_said_ask_for_nothing(images: object) -> None:
    job = parse_entry(entry({"pet_id": "1", "payload": {"images": images}}), ENTRY)
    assert (job.image_ids, job.insights) == ((), {})


def test_each_command_says_what_is_said_of_its_own_images() -> None:
    told = [{"image_id": f"i{n}", "quality_score": n / 200} for n in range(130) if n % 2]
    ids = [f"i{n}" for n in range(130)]
    job = parse_entry(entry({"pet_id": "1", "job_id": "j", "image_ids": ids, "images": told}), ENTRY)
    commands = to_commands(job, source="redis:s/1-0", now=NOW)
    assert [len(command.image_ids) for command in commands] == [64, 64, 2]
    for command in commands:
        assert set(command.insights) == {image_id for image_id in command.image_ids if int(image_id[1:]) % 2}
        assert all(insight.quality_score == int(i[1:]) / 200 for i, insight in command.insights.items())
        assert decode_command(msgspec.json.encode(command)) == command


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"image_ids": ["1", "2", "3", 4]}, "payload.image_ids[3]"),
        ({"image_ids": ["1", "with space"]}, "payload.image_ids[1]"),
        ({"image_ids": ["x" * 129]}, "payload.image_ids[0]"),
        ({"image_ids": [None]}, "payload.image_ids[0]"),
        ({"image_ids": "1"}, "payload.image_ids"),
        ({"image_ids": {"a": 1}}, "payload.image_ids"),
        ({"image_ids": None}, "payload.image_ids"),
        ({"image_ids": [str(i) for i in range(10_001)]}, "payload.image_ids"),
        ({"images": "1"}, "payload.images"),
        ({"images": {"1": {}}}, "payload.images"),
        ({"images": ["1"]}, "payload.images[0]"),
        ({"images": [{}]}, "payload.images[0].image_id"),
        ({"images": [{"image_id": None}]}, "payload.images[0].image_id"),
        ({"images": [{"image_id": "1"}, {"image_id": "a b"}]}, "payload.images[1].image_id"),
        ({"images": [{"image_id": 7}]}, "payload.images[0].image_id"),
        (
            {"images": [*[{"image_id": "1"}] * 3, {"image_id": "1", "quality_score": 1.01}]},
            "payload.images[3].quality_score",
        ),
        ({"images": [{"image_id": "1", "quality_score": -0.01}]}, "payload.images[0].quality_score"),
        ({"images": [{"image_id": "1", "quality_score": "0.5"}]}, "payload.images[0].quality_score"),
        ({"images": [{"image_id": "1", "quality_score": True}]}, "payload.images[0].quality_score"),
        ({"images": [{"image_id": "1", "pose": 1}]}, "payload.images[0].pose"),
        ({"images": [{"image_id": "1", "pose": "x" * 129}]}, "payload.images[0].pose"),
        ({"images": [{"image_id": "1", "label": ["a"]}]}, "payload.images[0].label"),
        ({"images": [{"image_id": "1", "label": "x" * 129}]}, "payload.images[0].label"),
        ({"images": [{"image_id": "1", "taken_at": 1700000000}]}, "payload.images[0].taken_at"),
        ({"images": [{"image_id": "1", "taken_at": "yesterday"}]}, "payload.images[0].taken_at"),
        ({"images": [{"image_id": "1", "taken_at": ""}]}, "payload.images[0].taken_at"),
        ({"images": [{"image_id": str(i)} for i in range(10_001)]}, "payload.images"),
        ({"image_ids": ["x"], "images": [{"image_id": str(i)} for i in range(10_000)]}, "payload.images"),
        ({"payload": {"images": [{"image_id": "?"}]}}, "payload.payload.images[0].image_id"),
        ({"labels": "Portraits"}, "payload.labels"),
        ({"labels": [1]}, "payload.labels[0]"),
        ({"labels": ["x"] * 65}, "payload.labels"),
        ({"labels": ["x", "x" * 129]}, "payload.labels[1]"),
        ({"coverage": {str(n): 1 for n in range(65)}}, "payload.coverage"),
        ({"coverage": {"x" * 129: 1}}, "payload.coverage"),
        ({"coverage": []}, "payload.coverage"),
        ({"coverage": {"portrait": "x"}}, "payload.coverage.portrait"),
        ({"coverage": {"portrait": True}}, "payload.coverage.portrait"),
        ({"quality_score": "0.5"}, "payload.quality_score"),
        ({"quality_score": True}, "payload.quality_score"),
        ({"reason": 5}, "payload.reason"),
        ({"reason": "x" * 1_001}, "payload.reason"),
        ({"force": 1}, "payload.force"),
        ({"force": "true"}, "payload.force"),
        ({"force": None}, "payload.force"),
        ({"metadata": []}, "payload.metadata"),
        ({"metadata": {"x": "y" * 70_000}}, "payload.metadata"),
        ({"attempts": -1}, "payload.attempts"),
        ({"attempts": 1.5}, "payload.attempts"),
        ({"enqueued_at": 1700000000}, "payload.enqueued_at"),
        ({"enqueued_at": "yesterday"}, "payload.enqueued_at"),
        ({"pet_id": "102"}, "payload.pet_id"),
        ({"payload": {"image_ids": ["?"]}}, "payload.payload.image_ids[0]"),
        ({"payload": None}, "payload.payload"),
        ("zzz", "payload"),
        (None, "payload"),
        ([1], "payload"),
    ],
)
def test_wrong_field_is_named(payload: object, field: str) -> None:
    assert refused(entry({"pet_id": "101", "payload": payload})).field == field


def test_labels_and_coverage_are_accepted_up_to_their_bounds() -> None:
    """They are kept in every fact and in the pet's state, so they are bounded, and tightly."""
    names = [f"{n:0128}" for n in range(64)]
    job = parse_entry(entry({"pet_id": "1", "payload": {"labels": names, "coverage": dict.fromkeys(names, 1)}}), ENTRY)
    assert job.labels == tuple(names)
    assert list(job.coverage) == names


@pytest.mark.parametrize("pet_id", [101, None, "", "a b", "ä", "a/b", "a\n", ["1"], True, "x" * 129])
def test_pet_id_must_be_an_id(pet_id: object) -> None:
    assert refused(entry({"pet_id": pet_id})).field == "pet_id"


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({b"other": b"1"}, "payload", "neither payload nor pet_id"),
        ({}, "payload", "neither payload nor pet_id"),
        ({b"payload": b"{"}, "payload", "not JSON"),
        ({b"payload": b""}, "payload", "not JSON"),
        ({b"payload": b'{"pet_id":"\xff"}'}, "payload", "UTF-8"),
        ({b"payload": b"[]"}, "payload", "array"),
        ({b"payload": b"null"}, "payload", "null"),
        ({b"payload": b"5"}, "payload", "number"),
        ({b"payload": b'"x"'}, "payload", "string"),
        ({b"payload": b"{}"}, "pet_id", "required"),
        ({b"payload": b'{"job_id":"a","payload":{}}'}, "pet_id", "required"),
        ({b"payload": b'{"pet_id":"1","payload":{"quality_score":NaN}}'}, "payload", "not JSON"),
        ({b"payload": b'{"pet_id":"1","payload":{"quality_score":-Infinity}}'}, "payload", "not JSON"),
        ({b"payload": b'{"pet_id":"1","payload":{"quality_score":1e999}}'}, "payload", "range"),
        ({b"payload": b'{"pet_id":"1","payload":{"quality_score":1' + b"0" * 400 + b"}}"}, "payload", "64 bits"),
        ({b"payload": b"[" * 100_000}, "payload", "deeper"),
        ({b"payload": b'{"a":' * 100_000}, "payload", "deeper"),
        ({b"payload": b'{"pet_id":"1","metadata":' + b"[" * 80 + b"]" * 80 + b"}"}, "payload", "deeper"),
        ({b"payload": b'{"pet_id":"1","x":"' + b"x" * (1 << 20) + b'"}'}, "payload", "limit"),
        ({b"pet_id": b"\xff"}, "pet_id", "UTF-8"),
        ({b"pet_id": b"1", b"image_ids": b"a,b"}, "image_ids", "not JSON"),
        ({b"pet_id": b"1", b"image_ids": b'["a", 5]'}, "image_ids[1]", "string"),
        ({b"pet_id": b"1", b"quality_score": b"NaN"}, "quality_score", "not JSON"),
        ({b"pet_id": b"1", b"force": b"yes"}, "force", "not JSON"),
    ],
)
def test_unreadable_entry_says_why(fields: dict[bytes, bytes], field: str, reason: str) -> None:
    error = refused(fields)
    assert error.field == field
    assert reason in error.reason


def test_pet_id_of_the_flat_field_list_is_text_even_if_it_looks_like_a_number() -> None:
    assert parse_entry({b"pet_id": b"101"}, ENTRY).pet_id == "101"


@pytest.mark.parametrize(("count", "sizes"), [(0, [0]), (1, [1]), (64, [64]), (65, [64, 1]), (130, [64, 64, 2])])
def test_job_is_split_into_commands(count: int, sizes: list[int]) -> None:
    ids = [f"i{n}" for n in range(count)]
    job = parse_entry(entry({"pet_id": "1", "job_id": "j", "payload": {"image_ids": ids}}), ENTRY)
    commands = to_commands(job, source="redis:s/1-0", now=NOW)
    assert [len(command.image_ids) for command in commands] == sizes
    assert [image_id for command in commands for image_id in command.image_ids] == ids
    assert [(c.part, c.parts) for c in commands] == [(n, len(sizes)) for n in range(1, len(sizes) + 1)]
    assert {(c.job_images, c.attempt, c.source) for c in commands} == {(count, 1, "redis:s/1-0")}


def test_now_stands_in_for_a_time_that_nobody_gave() -> None:
    job = parse_entry(entry({"pet_id": "1"}), "5-0")
    assert to_commands(job, source="", now=NOW)[0].enqueued_at == "2026-01-02T03:04:05.000000+00:00"


def test_what_is_known_of_an_invalid_entry() -> None:
    assert identify_entry(entry({**ENVELOPE, "payload": "zzz"})) == ("101", "job_1", 2)
    assert identify_entry({b"payload": b"{"}) == ("", "", 0)
    assert identify_entry(entry({"pet_id": 5, "attempts": "x"})) == ("", "", 0)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
job_names = st.sampled_from(
    [*TEXT_FIELDS, *JSON_FIELDS, "payload"],
)
job_values = json_values | st.just("101") | st.lists(st.just("a"), max_size=2)
jobs = st.recursive(
    st.dictionaries(job_names, job_values, max_size=6),
    lambda inner: st.fixed_dictionaries({"pet_id": st.just("101"), "payload": inner}),
    max_leaves=4,
)


def assert_job_or_invalid(fields: dict[bytes, bytes]) -> None:
    """Either a named error, or a job whose commands survive the wire."""
    identify_entry(fields)
    try:
        job = parse_entry(fields, ENTRY)
    except InvalidInput as error:
        named = bool(error.field and error.reason)
        assert named, error  # noqa: PT017 - an error is allowed here, not expected
        return
    for command in to_commands(job, source="redis", now=NOW):
        assert msgspec.json.decode(msgspec.json.encode(command), type=EmbedImages) == command


@given(st.dictionaries(job_names.map(str.encode) | st.binary(max_size=8), st.binary(max_size=64), max_size=4))
def test_arbitrary_bytes_raise_nothing_else(fields: dict[bytes, bytes]) -> None:
    assert_job_or_invalid(fields)


@given(jobs | json_values)
def test_arbitrary_json_raises_nothing_else(document: object) -> None:
    assert_job_or_invalid(entry(document))


@given(st.dictionaries(job_names.filter(lambda name: name != "payload"), job_values, max_size=6))
def test_arbitrary_field_lists_raise_nothing_else(document: dict[str, object]) -> None:
    assert_job_or_invalid(
        {
            k.encode(): (v if isinstance(v, str) else json.dumps(v)).encode("utf-8", "replace")
            for k, v in document.items()
        }
    )


@given(st.text())
def test_arbitrary_strings_in_metadata_raise_nothing_else(text: str) -> None:
    assert_job_or_invalid(entry({"pet_id": "1", "payload": {"metadata": {text: text}, "coverage": {text: 1}}}))


@given(st.from_regex(rb'\{"pet_id":"(\\u[dD][89a-fA-F][0-9a-f]{2}|a){1,3}"\}', fullmatch=True))
def test_lone_surrogates_raise_nothing_else(payload: bytes) -> None:
    assert_job_or_invalid({b"payload": payload})
