"""Whatever bytes stand on `media.jobs`: a command within its bounds, or a DeadLetter that says what is wrong."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.insights import told
from schemas.bounds import MAX_METADATA_BYTES, MAX_TEXT
from schemas.codec import encode_fact
from schemas.commands import EmbedImages, decode_command, split_images
from schemas.errors import DeadLetter
from schemas.facts import ImagesEmbedded, JobContext
from schemas.insights import Insight
from tables.replay import LogReplay
from tests.albums import Directions, image
from tests.fuzz import damaged, decoded_or_dead, json_values, mutations

TIME: Final = "2026-11-21T00:00:00.000000+00:00"
COMMAND: Final = EmbedImages(
    pet_id="rex",
    job_id="j",
    image_ids=("a", "b"),
    job_images=2,
    reason="r",
    labels=("Portraits",),
    coverage={"portrait": 0.5},
    quality_score=0.5,
    metadata={"a": [1, {"b": None}]},
    enqueued_at=TIME,
    source="http",
    insights={"b": Insight(quality_score=0.5, pose="frontal", label="Naps", taken_at="2026-05-01T09:00:00+02:00")},
)
VECTOR: Final = Directions(1, 8).near(Directions(2, 8).new())


def command_stays_in_bounds(raw: bytes) -> None:
    """What follows from a command fits its topics: the fact's context, its retries, its letters."""
    command = decoded_or_dead(decode_command, raw)
    if command is None:
        return
    for part in split_images(command, command.image_ids):
        again = msgspec.json.encode(part)
        assert len(again) < MAX_METADATA_BYTES + 400_000
        assert decode_command(again) == part
    job = JobContext(
        job_id=command.job_id,
        part=command.part,
        parts=command.parts,
        attempt=command.attempt,
        run=command.run,
        requeue=command.requeue,
        reason=command.reason,
        labels=command.labels,
        coverage=command.coverage,
        quality_score=command.quality_score,
        enqueued_at=command.enqueued_at,
    )
    images = tuple(told(image(name, VECTOR), insight) for name, insight in command.insights.items())
    fact = ImagesEmbedded(job=job, model="m@1", dimension=8, images=images, known=command.image_ids)
    value = encode_fact(fact, event_id="e", time=TIME, pet_id=command.pet_id)
    replay = LogReplay(0)
    replay.apply(0, command.pet_id.encode(), value)
    assert replay.refused == []


@settings(max_examples=150)
@given(mutations(msgspec.to_builtins(COMMAND), json_values))
def test_commands_with_any_value_in_any_place(tree: Any) -> None:
    try:
        raw = msgspec.json.encode(tree)
    except UnicodeEncodeError:
        return
    command_stays_in_bounds(raw)


@settings(max_examples=100)
@given(damaged(msgspec.json.encode(COMMAND)) | st.binary(max_size=64))
def test_commands_of_damaged_bytes(raw: bytes) -> None:
    command_stays_in_bounds(raw)


@pytest.mark.parametrize(
    ("raw", "cause"),
    [
        (b"", "truncated"),
        (b"null", "got `null`"),
        (b"[1,2]", "got `array`"),
        (b"\xff\xfe", "malformed"),
        (b"{}", "pet_id"),
        (b'{"pet_id":"1","job_id":"1","reason":"\xff"}', "utf-8"),
        (b"[" * 100_000, "got `array`"),
        (b'{"metadata":' * 100_000, "recursion"),
        (b'{"pet_id":"1","job_id":"1","metadata":{"a":' + b"[" * 80 + b"]" * 80 + b"}}", "metadata: is nested"),
        (b'{"pet_id":"1\\n","job_id":"1"}', "pet_id: must be"),
        (b'{"pet_id":"1","job_id":"\\u0000"}', "job_id: must be"),
        (b'{"pet_id":"1","job_id":"1","image_ids":["\\u001b[2J"]}', "image_ids[0]: must be"),
        (b'{"pet_id":"1","job_id":"1","part":1,"parts":1' + b"0" * 30 + b"}", "parts: must be 1 to"),
        (b'{"pet_id":"1","job_id":"1","attempt":1' + b"0" * 30 + b"}", "attempt: must be 1 to"),
        (b'{"pet_id":"1","job_id":"1","run":0}', "run: must be 1 to"),
        (b'{"pet_id":"1","job_id":"1","quality_score":NaN}', "malformed"),
        (b'{"pet_id":"1","job_id":"1","quality_score":1e400}', "out of range"),
        (
            b'{"pet_id":"1","job_id":"1","image_ids":["a"],"insights":{"a":{"quality_score":2}}}',
            "insights.a.quality_sc",
        ),
        (b'{"pet_id":"1","job_id":"1","image_ids":["a"],"insights":{"a":{"taken_at":"0"}}}', "insights.a.taken_at: is"),
        (b'{"pet_id":"1","job_id":"1","insights":{"' + b"x" * 3_000_000 + b'":{}}}', "insights: must be 1-128"),
        (b'{"pet_id":"1","job_id":"1","labels":["' + b"x" * 3_000_000 + b'"]}', "labels[0]: has 3000000 characters"),
        (b'{"pet_id":"1","job_id":"1","reason":"' + b"x" * 3_000_000 + b'"}', "reason: has 3000000 characters"),
        (b'{"pet_id":"1","job_id":"1","metadata":{"a":"' + b"x" * 70_000 + b'"}}', "metadata: has"),
        (b'{"pet_id":"1","job_id":"1","type":"' + b"x" * 3_000_000 + b'"}', "a newer release's command"),
        (b'{"pet_id":"1","job_id":"1","enqueued_at":"0001-01-01T00:00:00+23:59"}', "enqueued_at: must be"),
    ],
)
def test_each_poison_command_has_its_cause(raw: bytes, cause: str) -> None:
    with pytest.raises(DeadLetter) as caught:
        decode_command(raw)
    assert cause in str(caught.value)
    assert len(str(caught.value)) <= MAX_TEXT
