"""CloudEvents headers (binary mode of the Kafka protocol binding, with `ce_` prefix) plus W3C `traceparent`.

Every message of every topic carries them; see https://github.com/cloudevents/spec (kafka-protocol-binding).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

Headers = list[tuple[str, bytes]]
RETRY_DUE: Final = "retry_due"
"""Header of a command that waits for its next try: when it is due, RFC 3339."""
_LAST_MILLISECOND: Final = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp() * 1000)
_MAX_TRACEPARENT: Final = 128
"""Characters; 55 in the version that exists."""


def utc_now() -> datetime:
    """The clock of every part that is not given another."""
    return datetime.now(UTC)


def record_moment(milliseconds: float) -> datetime:
    """The moment of a Kafka record's timestamp. A producer may write any number there; what is no time of the years
    1970 to 9999 becomes the nearest that is.
    """
    return datetime.fromtimestamp(min(max(milliseconds, 0), _LAST_MILLISECOND) / 1000, UTC)


def timestamp(moment: datetime) -> str:
    """RFC 3339 with microseconds and `+00:00`, the one format of all our messages and answers."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def parse_timestamp(text: str) -> datetime | None:
    """The moment of an RFC 3339 text; None when it is something else, lacks a zone, or lies outside of UTC's years."""
    try:
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def is_up_to(time: str, until: str) -> bool:
    """Whether both are RFC 3339 and `time` is not later than `until`."""
    moment, limit = parse_timestamp(time), parse_timestamp(until)
    return moment is not None and limit is not None and moment <= limit


def build_headers(*, event_id: str, event_type: str, source: str, time: str, traceparent: str = "") -> Headers:
    """The headers of one message. `event_type` carries the version, e.g. ``media.ImagesEmbedded.v1``.

    A `traceparent` that is far too long for one is left out, as W3C Trace Context 3.2.2.5 asks for invalid ones: it
    came with some message, and would make those that follow too large for their topics.
    """
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_type", event_type.encode()),
        ("ce_source", source.encode()),
        ("ce_time", time.encode()),
    ]
    if 0 < len(traceparent) <= _MAX_TRACEPARENT:
        headers.append(("traceparent", traceparent.encode()))
    return headers


def header(headers: Iterable[tuple[str, bytes]] | None, name: str) -> str:
    """The value of a header, or an empty string when it is absent or not UTF-8."""
    for key, value in headers or ():
        if key == name:
            return (value or b"").decode("utf-8", "replace")
    return ""
