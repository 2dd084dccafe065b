"""Whether a decoded fact may be folded at all: ids are ids, numbers are in range and finite, texts are bounded.

msgpack types say less than the fold, its rows and the projections need, and the log is for ever: a fact with a time
that is none, or a NaN, would spoil every later version of its pet. Called by `tables.log` for each record, live and in
replays. The rules may only be relaxed: tightening one changes what a rebuild makes of an old log.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import msgspec

from schemas import facts
from schemas.bounds import MAX_NAME, MAX_TEXT, check_integer, check_items, check_text
from schemas.decisions import parse_arguments
from schemas.errors import InvalidInput
from schemas.headers import parse_timestamp
from schemas.ids import check_id
from schemas.insights import check_insight

MAX_IMAGES_PER_FACT: Final = 10_000
MAX_DIMENSION: Final = 16_384
MAX_MODEL: Final = 200
_LARGEST: Final = (1 << 63) - 1


def check_time(text: str) -> None:
    """Raises InvalidInput when it is no RFC 3339 time with a zone."""
    check_text(text, "time", MAX_NAME)
    if parse_timestamp(text) is None:
        raise InvalidInput("time", "must be RFC 3339 with a zone")


def check_fact(fact: facts.Fact) -> None:
    """Raises InvalidInput naming the field when a value can not be what the service has written."""
    check = _CHECKS.get(type(fact))
    if check is not None:
        check(fact)


def _images_embedded(fact: facts.ImagesEmbedded) -> None:
    _job(fact.job)
    check_text(fact.model, "model", MAX_MODEL)
    check_text(fact.device, "device", MAX_NAME)
    check_integer(fact.dimension, "dimension", 1, MAX_DIMENSION)
    for field, values in (("images", fact.images), ("known", fact.known), ("failed", fact.failed)):
        _check_number_of(values, field)
    for index, image in enumerate(fact.images):
        _image(image, f"images[{index}]")
    for index, image_id in enumerate(fact.known):
        check_id(image_id, f"known[{index}]")
    for index, failed in enumerate(fact.failed):
        check_text(failed.image_id, f"failed[{index}].image_id", MAX_NAME)
        check_text(failed.kind, f"failed[{index}].kind", MAX_NAME)
        check_text(failed.reason, f"failed[{index}].reason", MAX_TEXT)
    _check_number_of(fact.pending, "pending")
    for index, image_id in enumerate(fact.pending):
        check_text(image_id, f"pending[{index}]", MAX_NAME)


def _job(job: facts.JobContext) -> None:
    check_id(job.job_id, "job.job_id")
    check_integer(job.parts, "job.parts", 1)
    check_integer(job.part, "job.part", 1, job.parts)
    check_integer(job.attempt, "job.attempt", 1)
    check_integer(job.run, "job.run", 1)
    if job.requeue:
        check_id(job.requeue, "job.requeue")
    check_text(job.reason, "job.reason")
    check_text(job.enqueued_at, "job.enqueued_at")
    check_items(job.labels, "job.labels")
    for index, label in enumerate(job.labels):
        check_text(label, f"job.labels[{index}]", MAX_NAME)
    check_items(job.coverage, "job.coverage")
    for name, share in job.coverage.items():
        check_text(name, "job.coverage", MAX_NAME)
        _finite(share, "job.coverage")
    if job.quality_score is not None:
        _finite(job.quality_score, "job.quality_score")


def _image(image: facts.EmbeddedImage, field: str) -> None:
    check_id(image.image_id, f"{field}.image_id")
    quality = image.quality
    for part in msgspec.structs.astuple(quality):
        _finite(part, f"{field}.quality")
    check_integer(image.phash, f"{field}.phash", 0, (1 << 64) - 1)
    check_integer(image.width, f"{field}.width", 0)
    check_integer(image.height, f"{field}.height", 0)
    check_text(image.taken_at, f"{field}.taken_at", MAX_NAME)
    check_integer(image.size_bytes, f"{field}.size_bytes", 0, _LARGEST)
    if len(image.sha256) > MAX_NAME:
        raise InvalidInput(f"{field}.sha256", f"has {len(image.sha256)} bytes, the limit is {MAX_NAME}")
    if image.insight is not None:
        check_insight(image.insight, f"{field}.insight")


def _policy_changed(fact: facts.PolicyChanged) -> None:
    policy = fact.policy
    check_text(policy.policy_id, "policy.policy_id", MAX_NAME)
    check_text(policy.engine, "policy.engine", MAX_NAME)
    for field in ("engine_version", "min_cluster_size", "max_cluster_size", "max_components"):
        check_integer(getattr(policy, field), f"policy.{field}", 1)
    for field in ("max_snapshot_clusters", "max_snapshot_members"):
        check_integer(getattr(policy, field), f"policy.{field}", 0)
    _finite(policy.join, "policy.join")
    _finite(policy.merge, "policy.merge")


def _model_promoted(fact: facts.ModelPromoted) -> None:
    check_text(fact.model, "model", MAX_MODEL)
    check_integer(fact.dimension, "dimension", 1, MAX_DIMENSION)


def _recluster_requested(fact: facts.ReclusterRequested) -> None:
    check_id(fact.request_id, "request_id")
    check_text(fact.reason, "reason")


def _decision_submitted(fact: facts.DecisionSubmitted) -> None:
    check_id(fact.decision_id, "decision_id")
    check_integer(fact.expected_version, "expected_version", 1, _LARGEST)
    check_text(fact.kind, "kind", MAX_NAME)
    if not fact.sealed:  # else its key is destroyed, and the fold ignores it
        parse_arguments(fact.kind, fact.arguments)
    for field in ("who", "why"):
        check_text(getattr(fact, field), field)


def _images_removed(fact: facts.ImagesRemoved) -> None:
    check_id(fact.request_id, "request_id")
    check_text(fact.reason, "reason")
    _check_number_of(fact.image_ids, "image_ids")
    for index, image_id in enumerate(fact.image_ids):
        check_id(image_id, f"image_ids[{index}]")


def _pet_purged(fact: facts.PetPurged) -> None:
    check_id(fact.purge_id, "purge_id")
    check_time(fact.accepted_until)
    check_items(fact.keys, "keys")
    for index, key_id in enumerate(fact.keys):
        check_text(key_id, f"keys[{index}]", MAX_NAME)
    for field in ("last_version", "next_cluster"):
        check_integer(getattr(fact, field), field, -1, _LARGEST)
    for field in ("who", "why"):
        check_text(getattr(fact, field), field)


def _finite(value: float, field: str) -> None:
    if not math.isfinite(value):
        raise InvalidInput(field, "must be finite")


def _check_number_of(values: tuple[object, ...], field: str) -> None:
    if len(values) > MAX_IMAGES_PER_FACT:
        raise InvalidInput(field, f"has {len(values)} images, the limit is {MAX_IMAGES_PER_FACT}")


_CHECKS: Final[dict[type[facts.Fact], Callable[[Any], None]]] = {
    facts.ImagesEmbedded: _images_embedded,
    facts.PolicyChanged: _policy_changed,
    facts.ModelPromoted: _model_promoted,
    facts.ReclusterRequested: _recluster_requested,
    facts.DecisionSubmitted: _decision_submitted,
    facts.ImagesRemoved: _images_removed,
    facts.PetPurged: _pet_purged,
}
