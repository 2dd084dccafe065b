"""The dead letter of a record that cannot be projected, whatever its producer wrote beside the value."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiokafka import ConsumerRecord

from agents.dead_letters import broker_time
from projections.unprojected import send_unprojected
from schemas.headers import Headers, header, parse_timestamp
from schemas.public import DeadLetterRecord
from schemas.topics import MAX_MESSAGE_BYTES, Topics

TOPICS = Topics("t.")


class Taken:
    """A producer that keeps what it is given."""

    def __init__(self) -> None:
        self.key: bytes | None = b""
        self.value = b""
        self.headers: Headers = []

    async def send_and_wait(self, topic: str, value: bytes, *, key: bytes | None, headers: Headers) -> None:
        assert topic == TOPICS.deadletter.name
        self.key, self.value, self.headers = key, value, headers


def record(topic: str = "t.media.jobs", **more: Any) -> ConsumerRecord:
    values: dict[str, Any] = {
        "topic": topic, "partition": 2, "offset": 7, "timestamp": 1_700_000_000_000, "timestamp_type": 0,
        "key": b"101", "value": b"{", "checksum": None, "serialized_key_size": 3, "serialized_value_size": 1,
        "headers": (),
    }  # fmt: skip
    return ConsumerRecord(**(values | more))


async def sent(record: ConsumerRecord) -> tuple[Taken, DeadLetterRecord]:
    taken = Taken()
    await send_unprojected(taken, TOPICS, record, "why")
    return taken, msgspec.json.decode(taken.value, type=DeadLetterRecord)


@pytest.mark.parametrize(
    ("topic", "subject"),
    [
        (TOPICS.jobs, "command"),
        (TOPICS.jobs_status, "job"),
        (TOPICS.pet_versions, "fact"),
        (TOPICS.deadletter_actions, "fact"),
    ],
)
async def test_a_letter_says_what_it_is_about(topic: Any, subject: str) -> None:
    taken, letter = await sent(record(topic.name))
    assert (letter.subject, letter.kind, letter.source_id) == (subject, "not_projected", f"{topic.name}/2/7")
    assert (taken.key, letter.pet_id, letter.payload) == (b"101", "101", b"{")


@pytest.mark.parametrize("key", [None, b"", b"a/b", b"\xff", b"x" * 4_000])
async def test_a_key_that_names_no_pet_goes_no_further(key: bytes | None) -> None:
    taken, letter = await sent(record(key=key))
    assert (taken.key, letter.pet_id) == (None, "")


async def test_the_largest_record_gives_a_letter_that_the_topic_takes() -> None:
    taken, letter = await sent(record(value=b"x" * MAX_MESSAGE_BYTES))
    assert len(taken.value) < MAX_MESSAGE_BYTES - (1 << 16)
    assert "payload cut" in letter.reason


@pytest.mark.parametrize("milliseconds", [-1, -(2**62), 2**62])
def test_an_agents_letter_says_some_time_whatever_the_timestamp_is(milliseconds: int) -> None:
    assert parse_timestamp(broker_time(SimpleNamespace(timestamp=milliseconds / 1000))) is not None


@pytest.mark.parametrize("milliseconds", [-1, -(2**62), 2**62])
async def test_a_timestamp_that_is_no_time_stops_nothing(milliseconds: int) -> None:
    taken, letter = await sent(record(timestamp=milliseconds))
    assert parse_timestamp(letter.failed_at) is not None
    assert header(taken.headers, "ce_time") == letter.failed_at
