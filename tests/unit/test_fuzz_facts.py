"""Whatever bytes stand on `media.pet-log` and `media.pet-versions`: the fold lives, and what it sends can be read."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.insights import told
from schemas.bounds import MAX_TEXT
from schemas.codec import decode_fact, decode_message, decode_version, encode_fact, encode_version
from schemas.errors import UnknownVersion
from schemas.facts import (
    DecisionSubmitted,
    EmbeddedImage,
    FailedImage,
    ImagesEmbedded,
    ImagesRemoved,
    JobContext,
    ModelPromoted,
    Policy,
    PolicyChanged,
    Quality,
    ReclusterRequested,
)
from schemas.insights import Insight
from schemas.topics import MAX_MESSAGE_BYTES, PARTITION_FACTS_KEY
from schemas.versions import ClusterChange, Hero, MemberChange, PetVersion
from tables.partition import in_force
from tables.replay import LogReplay
from tests.albums import Directions, embedded, image
from tests.fuzz import damaged, decoded_or_dead, mutations, values

TIME: Final = "2026-11-21T00:00:00.000000+00:00"
VERSION: Final = PetVersion(
    pet_id="rex",
    version=1,
    time=TIME,
    partition=0,
    offset=0,
    job_id="j",
    model="m@1",
    policy_id="default-1",
    max_cluster_size=24,
    members=(MemberChange("a", 0, 0.5, "joined"),),
    clusters=(ClusterChange(0, "Cluster 0", 1, 1.0, (Hero("a", 0.5),)),),
    cluster_count=1,
    image_count=1,
    unclustered_count=0,
)
_directions = Directions(1)
SAID: Final = Insight(quality_score=0.5, pose="frontal", label="Naps", taken_at="2026-05-01T09:00:00")
FACTS: Final = (
    embedded(
        [image("a", _directions.near(_directions.new())), image("b", _directions.near(_directions.new()))],
        job_id="j",
        labels=("Portraits",),
    ),
    embedded([told(image("d", _directions.near(_directions.new())), SAID)], job_id="t"),
    ImagesEmbedded(
        job=JobContext(job_id="k"), model="m@1", dimension=8, known=("a",), failed=(FailedImage("c", "x", "y"),)
    ),
    PolicyChanged(policy=Policy()),
    ModelPromoted(model="m@1", dimension=8),
    ReclusterRequested(request_id="r"),
    DecisionSubmitted(
        decision_id="d", kind="not_here", expected_version=1, arguments={"cluster": 0, "image_ids": ["a"]}, who="ann"
    ),
    ImagesRemoved(request_id="g", image_ids=("a", "b"), reason="gone"),
)


def folded(key: bytes, raw: bytes) -> LogReplay:
    """The log of one foreign record and, behind it, a good one: the fold lives, and what it sends is bounded and can
    be read.
    """
    replay = LogReplay(0)
    try:
        outputs = replay.apply(0, key, raw)
    except UnknownVersion:
        return replay
    good = encode_fact(FACTS[0], event_id="e", time=TIME, pet_id="tom")
    outputs += replay.apply(1, b"tom", good)
    promoted = in_force(replay.store.get, 1).model  # vectors of another model than that are kept, not folded
    assert any(output.channel == "versions" for output in outputs) == (promoted in ("", FACTS[0].model))
    for output in outputs:
        assert len(output.value) < MAX_MESSAGE_BYTES
        if output.channel in ("versions", "decisions"):
            decode_message(output.value)
        else:
            msgspec.json.decode(output.value)
    return replay


@settings(max_examples=150)
@given(st.sampled_from(FACTS), st.data(), st.sampled_from([b"rex", PARTITION_FACTS_KEY.encode()]))
def test_facts_with_any_value_in_any_place(fact: Any, data: st.DataObject, key: bytes) -> None:
    tree = msgspec.msgpack.decode(encode_fact(fact, event_id="e", time=TIME, pet_id="rex"))
    raw = msgspec.msgpack.encode(data.draw(mutations(tree, values)))
    decoded_or_dead(decode_fact, raw)
    folded(key, raw)


@settings(max_examples=100)
@given(st.sampled_from(FACTS), st.data())
def test_facts_of_damaged_bytes(fact: Any, data: st.DataObject) -> None:
    raw = data.draw(damaged(encode_fact(fact, event_id="e", time=TIME, pet_id="rex")))
    decoded_or_dead(decode_fact, raw)
    folded(b"rex", raw)


@pytest.mark.parametrize("key", [b"", b"a b", b"\xff", b"a\n", b"/other", b"x" * 200])
def test_a_fact_under_a_key_that_is_no_pet_is_refused(key: bytes) -> None:
    replay = folded(key, encode_fact(FACTS[0], event_id="e", time=TIME, pet_id="rex"))
    assert [reason.partition(":")[0] for _, reason in replay.refused] == ["key"]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"time": "yesterday"}, "time"),
        ({"time": "0001-01-01T00:00:00+23:59"}, "time"),
        ({"type": "x" * 100_000}, "fact type"),
        ({"version": 2}, "version 2"),
        ({"version": 0}, "version 0"),
        ({"version": -(2**63)}, "version"),
        ({"data": b"\xc1"}, "not a fact"),
        ({"data": [1]}, "not a fact"),
        ({"data": None}, "not a fact"),
    ],
)
def test_each_poison_envelope_has_its_cause(change: dict[str, Any], cause: str) -> None:
    tree = msgspec.msgpack.decode(encode_fact(FACTS[0], event_id="e", time=TIME, pet_id="rex"))
    raw = msgspec.msgpack.encode(tree | change)
    replay = LogReplay(0)
    try:
        replay.apply(0, b"rex", raw)
    except UnknownVersion as error:
        reason = str(error)
    else:
        ((_, reason),) = replay.refused
    assert cause in reason
    assert len(reason) <= MAX_TEXT


@pytest.mark.parametrize(
    ("fact", "field"),
    [
        (ImagesEmbedded(job=JobContext(job_id="a b"), model="m", dimension=8), "job.job_id"),
        (ImagesEmbedded(job=JobContext(job_id="j", parts=0), model="m", dimension=8), "job.parts"),
        (ImagesEmbedded(job=JobContext(job_id="j", coverage={"a": float("nan")}), model="m", dimension=8), "job.cov"),
        (ImagesEmbedded(job=JobContext(job_id="j"), model="m", dimension=-1), "dimension"),
        (ImagesEmbedded(job=JobContext(job_id="j"), model="m", dimension=8, known=("a\x00",)), "known[0]"),
        (
            ImagesEmbedded(
                job=JobContext(job_id="j"),
                model="m",
                dimension=1,
                images=(EmbeddedImage("a", b"\x00\x10", Quality(score=float("inf"))),),
            ),
            "images[0].quality",
        ),
        (
            embedded([msgspec.structs.replace(image("a", bytes(8)), insight=Insight(quality_score=float("nan")))]),
            "images[0].insight.quality_score",
        ),
        (
            embedded([msgspec.structs.replace(image("a", bytes(8)), insight=Insight(label="x" * 129))]),
            "images[0].insight.label",
        ),
        (PolicyChanged(policy=Policy(join=float("nan"))), "policy.join"),
        (PolicyChanged(policy=Policy(min_cluster_size=0)), "policy.min_cluster_size"),
    ],
)
def test_each_poison_fact_has_its_cause(fact: Any, field: str) -> None:
    key = PARTITION_FACTS_KEY if isinstance(fact, PolicyChanged) else "rex"
    replay = folded(key.encode(), encode_fact(fact, event_id="e", time=TIME, pet_id="rex"))
    ((_, reason),) = replay.refused
    assert reason.startswith(field)


@settings(max_examples=100)
@given(st.data())
def test_versions_of_any_kind(data: st.DataObject) -> None:
    raw = encode_version(VERSION)
    tree = msgspec.msgpack.decode(raw)
    damage = st.one_of(damaged(raw), mutations(tree, values).map(msgspec.msgpack.encode))
    decoded_or_dead(decode_version, data.draw(damage))
