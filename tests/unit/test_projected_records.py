"""What the projector takes from `media.jobs`: what the embed agent takes, if it fits the tables."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from projections.records import RecordDecoder
from schemas.commands import EmbedImages, decode_command
from schemas.errors import DeadLetter, InvalidInput, UnknownVersion
from schemas.topics import Topics

TOPICS = Topics("")


def command(**fields: Any) -> bytes:
    return msgspec.json.encode({"pet_id": "101", "job_id": "job_1"} | fields)


def projected(raw: bytes) -> object:
    return RecordDecoder(TOPICS).decode(TOPICS.jobs.name, raw, [])


def test_a_command_is_read_as_the_embed_agent_reads_it() -> None:
    raw = command(image_ids=["a", "b"], part=2, parts=2, enqueued_at="2026-11-21T07:49:24Z")
    read = projected(raw)
    assert isinstance(read, EmbedImages)
    assert read == decode_command(raw)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (command(pet_id="a/b"), "pet_id"),
        (command(part=3, parts=2), "part"),
        (command(part=0), "part"),
        (command(enqueued_at="2026-11-21T07:49:24"), "enqueued_at"),
        (command(image_ids=["i"] * 65), "image_ids"),
        (command(image_ids=["ok", "a b"]), "image_ids[1]"),
    ],
)
def test_what_the_embed_agent_refuses_is_not_projected(raw: bytes, field: str) -> None:
    for read in (decode_command, projected):
        with pytest.raises(InvalidInput) as caught:
            read(raw)
        assert caught.value.field == field


@pytest.mark.parametrize("fields", [{"parts": 2**31}, {"job_images": -1}, {"attempt": 2**31}])
def test_what_does_not_fit_a_column_is_refused(fields: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(fields))):
        projected(command(**fields))


@pytest.mark.parametrize("fields", [{"version": 2}, {"type": "SplitCluster"}, {"version": 2, "pet_id": None}])
def test_a_newer_releases_command_is_told_from_garbage(fields: dict[str, object]) -> None:
    with pytest.raises(UnknownVersion):
        projected(command(**fields))


@pytest.mark.parametrize("fields", [{"version": 0}, {"version": "two"}, {"type": 5}, {"pet_id": 5}])
def test_garbage_does_not_pass_for_a_newer_releases_command(fields: dict[str, object]) -> None:
    """UnknownVersion would stop the projector for good."""
    with pytest.raises(DeadLetter) as caught:
        projected(command(**fields))
    assert not isinstance(caught.value, UnknownVersion)
