"""A job as a caller wrote it → commands. Pure.

Called by `bridges.redis_jobs` for entries of the Redis Stream and by the HTTP view for request bodies. Callers write
the same job at different depths, so a job is read as layers, outermost first:

    {"pet_id", "job_id", "attempts", "enqueued_at", "payload": {                  envelope (Redis only)
        "pet_id", "job_id", "reason", "force", "metadata", "payload": {           request (the HTTP body starts here)
            "image_ids", "images", "labels", "coverage", "quality_score"}}}       details

Ids are taken from the outermost layer that names them, everything else from the innermost; a field may stand in any.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from bridges import fields as read
from schemas.bounds import MAX_DEPTH, check_tree
from schemas.commands import EmbedImages, split_images
from schemas.errors import InvalidInput
from schemas.headers import timestamp
from schemas.ids import check_id
from schemas.insights import Insight

MAX_ENTRY_BYTES: Final = 1 << 20
MAX_LAYERS: Final = 3
TEXT_FIELDS: Final = ("pet_id", "job_id", "reason", "enqueued_at", "traceparent")
"""Of the flat field list: written as they are. The others are JSON."""
JSON_FIELDS: Final = ("image_ids", "images", "force", "labels", "coverage", "quality_score", "metadata", "attempts")


class JobRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One job, validated. `image_ids` holds no id twice; `insights`: by image id, of some of them.

    `enqueued_at` is RFC 3339 or empty; `traceparent` is a W3C trace context or empty.
    """

    pet_id: str
    job_id: str
    image_ids: tuple[str, ...] = ()
    insights: dict[str, Insight] = {}
    reason: str = ""
    force: bool = False
    labels: tuple[str, ...] = ()
    coverage: dict[str, float] = {}
    quality_score: float | None = None
    metadata: dict[str, Any] = {}
    enqueued_at: str = ""
    traceparent: str = ""


def parse_entry(fields: Mapping[bytes, bytes], entry_id: str) -> JobRequest:
    """The job of a stream entry in any of the accepted forms.

    Raises InvalidInput naming the field, as a path from the envelope on, e.g. ``payload.image_ids[3]``.
    """
    size = sum(len(name) + len(value) for name, value in fields.items())
    if size > MAX_ENTRY_BYTES:
        raise InvalidInput("payload", f"the entry has {size} bytes, the limit is {MAX_ENTRY_BYTES}")
    document, trace = _document(fields)
    return parse_job(
        document,
        default_job_id=f"entry-{entry_id}",
        default_enqueued_at=_entry_time(entry_id),
        traceparent=trace,
    )


def parse_json(raw: bytes, field: str) -> Any:
    """Decode JSON of at most `MAX_ENTRY_BYTES` and `MAX_DEPTH`; raises InvalidInput naming `field` when it is not."""
    if len(raw) > MAX_ENTRY_BYTES:
        raise InvalidInput(field, f"has {len(raw)} bytes, the limit is {MAX_ENTRY_BYTES}")
    try:
        value = msgspec.json.decode(raw)
    except RecursionError:
        raise InvalidInput(field, f"is nested deeper than {MAX_DEPTH}") from None
    except UnicodeDecodeError:
        raise InvalidInput(field, "is not UTF-8") from None
    except msgspec.DecodeError as error:
        raise InvalidInput(field, f"is not JSON: {error}") from None
    check_tree(value, field)
    return value


def parse_job(
    document: object, *, default_job_id: str, default_enqueued_at: str = "", traceparent: str = ""
) -> JobRequest:
    """The job of decoded JSON: an envelope or an HTTP body. Raises InvalidInput naming the field."""
    layers = _layers(document)
    pets = read.every(layers, "pet_id")
    if not pets:
        raise InvalidInput("pet_id", "is required")
    pet_id = check_id(pets[0].value, pets[0].path)
    for other in pets[1:]:
        if other.value != pet_id:
            raise InvalidInput(other.path, f"differs from {pets[0].path}")
    job = read.outermost(layers, "job_id")
    image_ids, insights = read.named_images(
        read.innermost(layers, "image_ids", null_is_absent=False), read.innermost(layers, "images")
    )
    read.count(read.innermost(layers, "attempts"))  # judged like every field; only a refused entry's letter tells it
    return JobRequest(
        pet_id=pet_id,
        job_id=check_id(job.value, job.path) if job else check_id(default_job_id, "job_id"),
        image_ids=image_ids,
        insights=insights,
        reason=read.text(read.innermost(layers, "reason")),
        force=read.flag(read.innermost(layers, "force", null_is_absent=False)),
        labels=read.labels(read.innermost(layers, "labels")),
        coverage=read.coverage(read.innermost(layers, "coverage")),
        quality_score=read.number(read.innermost(layers, "quality_score")),
        metadata=read.metadata(read.innermost(layers, "metadata")),
        enqueued_at=read.moment(read.outermost(layers, "enqueued_at")) or default_enqueued_at,
        traceparent=read.first_traceparent(traceparent, *_traces(layers)),
    )


def identify_entry(fields: Mapping[bytes, bytes]) -> tuple[str, str, int]:
    """What can still be told of an entry that is invalid: pet_id, job_id (empty when unknown) and counted attempts."""
    try:
        document, _ = _document(fields)
    except InvalidInput:
        return "", "", 0
    layers = [document] if isinstance(document, dict) else []
    if layers and isinstance(layers[0].get("payload"), dict):
        layers.append(layers[0]["payload"])
    attempts = next((value for layer in layers if type(value := layer.get("attempts")) is int), 0)
    return _known_id(layers, "pet_id"), _known_id(layers, "job_id"), min(max(attempts, 0), read.MAX_ATTEMPTS)


def to_commands(request: JobRequest, *, source: str, now: datetime) -> list[EmbedImages]:
    """Split a job into commands of at most 64 images; a job that names no image is one command.

    `now` stands in for an `enqueued_at` that the caller did not give.
    """
    template = EmbedImages(
        pet_id=request.pet_id,
        job_id=request.job_id,
        reason=request.reason,
        force=request.force,
        labels=request.labels,
        coverage=request.coverage,
        quality_score=request.quality_score,
        metadata=request.metadata,
        enqueued_at=request.enqueued_at or timestamp(now),
        source=source,
        insights=request.insights,
    )
    return split_images(template, request.image_ids)


def _document(fields: Mapping[bytes, bytes]) -> tuple[Any, str]:
    """The entry's JSON, whichever form it has, and the trace context that stands beside it."""
    trace = _utf8(fields.get(b"traceparent", b""), "traceparent")
    if b"payload" in fields:
        return parse_json(fields[b"payload"], "payload"), trace
    if b"pet_id" not in fields:
        raise InvalidInput("payload", "the entry has neither payload nor pet_id")
    text = {name: _utf8(fields[name.encode()], name) for name in TEXT_FIELDS if name.encode() in fields}
    other = {name: parse_json(fields[name.encode()], name) for name in JSON_FIELDS if name.encode() in fields}
    return text | other, trace


def _layers(document: object) -> dict[str, dict[str, Any]]:
    """Path prefix → object, outermost first."""
    layers: dict[str, dict[str, Any]] = {}
    prefix, value = "", document
    while len(layers) < MAX_LAYERS:
        if not isinstance(value, dict):
            raise InvalidInput(prefix.rstrip(".") or "payload", f"must be an object, got {read.json_type(value)}")
        layers[prefix] = value
        if "payload" not in value:
            break
        prefix, value = f"{prefix}payload.", value["payload"]
    return layers


def _traces(layers: dict[str, dict[str, Any]]) -> list[object]:
    """Where a trace context may stand: in a layer itself or in its metadata."""
    holders = [*layers.values(), *(found.value for found in read.every(layers, "metadata"))]
    return [holder.get("traceparent") for holder in holders if isinstance(holder, dict)]


def _known_id(layers: list[dict[str, Any]], name: str) -> str:
    for layer in layers:
        try:
            return check_id(layer.get(name), name)
        except InvalidInput:
            continue
    return ""


def _utf8(raw: bytes, field: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise InvalidInput(field, "is not UTF-8") from None


def _entry_time(entry_id: str) -> str:
    """When Redis took the entry, from its id; empty for ids that hold no plausible time (before 2001)."""
    milliseconds = entry_id.partition("-")[0]
    if not milliseconds.isascii() or not milliseconds.isdigit() or not 10**12 <= int(milliseconds) < 10**14:
        return ""
    return timestamp(datetime.fromtimestamp(int(milliseconds) / 1000, UTC))
