"""Reads single fields of a job and says which field is wrong and why. Pure; called by `bridges.translate`.

Every reader takes what `innermost` or `outermost` found, or None for a field that is absent, for which it returns the
field's empty value. Bounds keep a job's context small, because every command of the job carries it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from schemas.bounds import MAX_METADATA_BYTES, MAX_NAME, MAX_TEXT, check_items, check_text
from schemas.commands import MAX_IMAGES_PER_JOB
from schemas.errors import InvalidInput
from schemas.headers import timestamp
from schemas.ids import check_id
from schemas.insights import NOTHING, Insight, check_fraction, iso_time

MAX_ATTEMPTS: Final = 1_000_000
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

Layers = Mapping[str, Mapping[str, Any]]


class Found(NamedTuple):
    """A field's value and its path for error messages."""

    path: str
    value: Any


def every(layers: Layers, name: str) -> list[Found]:
    """The field in every layer that has it, outermost first."""
    return [Found(prefix + name, layer[name]) for prefix, layer in layers.items() if name in layer]


def outermost(layers: Layers, name: str) -> Found | None:
    """The field in the outermost layer that has it; null counts as absent, as callers write it for what they lack."""
    return next((found for found in every(layers, name) if found.value is not None), None)


def innermost(layers: Layers, name: str, *, null_is_absent: bool = True) -> Found | None:
    """The field in the innermost layer that has it."""
    candidates = [found for found in every(layers, name) if found.value is not None or not null_is_absent]
    return candidates[-1] if candidates else None


def named_images(ids: Found | None, images: Found | None) -> tuple[tuple[str, ...], dict[str, Insight]]:
    """The images of a job, those of `ids` first, and what `images` says of some: at most 10,000 together."""
    told = insights(images)
    named = tuple(dict.fromkeys([*image_ids(ids), *told]))
    if images is not None and len(named) > MAX_IMAGES_PER_JOB:
        raise InvalidInput(images.path, f"and image_ids have {len(named)} ids, a job may have {MAX_IMAGES_PER_JOB}")
    return named, {image_id: insight for image_id, insight in told.items() if insight}


def insights(found: Found | None) -> dict[str, Insight]:
    """At most 10,000 objects with an `image_id`; of what is said of an image twice, the later word counts."""
    if found is None:
        return {}
    values = _expect(found, list, "an array")
    if len(values) > MAX_IMAGES_PER_JOB:
        raise InvalidInput(found.path, f"has {len(values)} images, a job may have {MAX_IMAGES_PER_JOB}")
    told: dict[str, Insight] = {}
    for index, value in enumerate(values):
        image_id, insight = _insight(Found(f"{found.path}[{index}]", value))
        told[image_id] = _merged(told.get(image_id, NOTHING), insight)
    return told


def image_ids(found: Found | None) -> tuple[str, ...]:
    """At most 10,000 valid ids; repeated ones are dropped, the order stays."""
    if found is None:
        return ()
    values = _expect(found, list, "an array")
    if len(values) > MAX_IMAGES_PER_JOB:
        raise InvalidInput(found.path, f"has {len(values)} ids, a job may have {MAX_IMAGES_PER_JOB}")
    return tuple(dict.fromkeys(check_id(value, f"{found.path}[{i}]") for i, value in enumerate(values)))


def text(found: Found | None, limit: int = MAX_TEXT) -> str:
    """A string of at most `limit` characters."""
    if found is None:
        return ""
    return check_text(_expect(found, str, "a string"), found.path, limit)


def labels(found: Found | None) -> tuple[str, ...]:
    """At most 64 strings of at most 128 characters."""
    if found is None:
        return ()
    values = _bounded(found, _expect(found, list, "an array"))
    return tuple(text(Found(f"{found.path}[{i}]", value), MAX_NAME) for i, value in enumerate(values))


def coverage(found: Found | None) -> dict[str, float]:
    """At most 64 names of at most 128 characters with finite numbers."""
    if found is None:
        return {}
    values = _bounded(found, _expect(found, dict, "an object"))
    longest = max(map(len, values), default=0)
    if longest > MAX_NAME:
        raise InvalidInput(found.path, f"has a name of {longest} characters, the limit is {MAX_NAME}")
    return {name: _number(Found(f"{found.path}.{name}", value)) for name, value in values.items()}


def number(found: Found | None) -> float | None:
    """A finite number."""
    return None if found is None else _number(found)


def flag(found: Found | None) -> bool:
    """A JSON boolean."""
    return False if found is None else bool(_expect(found, bool, "true or false"))


def count(found: Found | None) -> int:
    """A whole number from 0 to 1,000,000."""
    if found is None:
        return 0
    value: int = _expect(found, int, "a whole number")
    if not 0 <= value <= MAX_ATTEMPTS:
        raise InvalidInput(found.path, f"must lie in 0…{MAX_ATTEMPTS}")
    return value


def metadata(found: Found | None) -> dict[str, Any]:
    """Any JSON object of at most 64 KiB."""
    if found is None:
        return {}
    value: dict[str, Any] = _expect(found, dict, "an object")
    size = len(msgspec.json.encode(value))
    if size > MAX_METADATA_BYTES:
        raise InvalidInput(found.path, f"has {size} bytes, the limit is {MAX_METADATA_BYTES}")
    return value


def moment(found: Found | None) -> str:
    """An ISO 8601 time, rewritten as RFC 3339 in UTC; without a zone it is taken as UTC."""
    if found is None:
        return ""
    try:
        parsed = datetime.fromisoformat(text(found))
        return timestamp(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise InvalidInput(found.path, "is not an ISO 8601 time") from None


def first_traceparent(*candidates: object) -> str:
    """The first valid W3C traceparent. An invalid one is ignored, as the W3C recommendation asks (section 3.2.2.5)."""
    return next((c for c in candidates if isinstance(c, str) and _TRACEPARENT.fullmatch(c)), "")


def json_type(value: object) -> str:
    """The JSON word for a decoded value's type."""
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _insight(found: Found) -> tuple[str, Insight]:
    layer = {f"{found.path}.": _expect(found, dict, "an object")}
    image_id, score = outermost(layer, "image_id"), outermost(layer, "quality_score")
    if image_id is None:
        raise InvalidInput(f"{found.path}.image_id", "is required")
    taken_at = outermost(layer, "taken_at")
    return check_id(image_id.value, image_id.path), Insight(
        quality_score=check_fraction(_number(score), score.path) if score else None,
        pose=text(outermost(layer, "pose"), MAX_NAME) or None,
        label=text(outermost(layer, "label"), MAX_NAME) or None,
        taken_at=iso_time(text(taken_at), taken_at.path) if taken_at else None,
    )


def _merged(before: Insight, after: Insight) -> Insight:
    said = {name: value for name, value in msgspec.structs.asdict(after).items() if value is not None}
    return msgspec.structs.replace(before, **said)


def _number(found: Found) -> float:
    if type(found.value) not in (int, float):
        raise InvalidInput(found.path, f"must be a number, got {json_type(found.value)}")
    if not math.isfinite(found.value):
        raise InvalidInput(found.path, "must be finite")
    return float(found.value)


def _expect(found: Found, kind: type, words: str) -> Any:
    # `type() is` because bool is an int in Python and is not a number in JSON.
    if type(found.value) is not kind:
        raise InvalidInput(found.path, f"must be {words}, got {json_type(found.value)}")
    return found.value


def _bounded(found: Found, values: Any) -> Any:
    check_items(values, found.path)
    return values
