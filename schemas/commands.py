"""Commands on `media.jobs`: what was asked, from Redis or over HTTP. JSON, keyed by pet_id.

Made by `bridges.translate`, read by the embed agent and by the job projection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from schemas.bounds import (
    MAX_METADATA_BYTES,
    MAX_NAME,
    MAX_TEXT,
    check_integer,
    check_items,
    check_text,
    check_tree,
)
from schemas.errors import DeadLetter, InvalidInput, UnknownVersion
from schemas.headers import parse_timestamp
from schemas.ids import check_id, message_id, run_key
from schemas.insights import Insight, check_insight

MAX_IMAGES_PER_COMMAND: Final = 64
MAX_IMAGES_PER_JOB: Final = 10_000
EMBED_IMAGES_TYPE: Final = "media.EmbedImages.v1"
PURGE_PET_TYPE: Final = "media.PurgePet.v1"


class EmbedImages(msgspec.Struct, frozen=True, kw_only=True):
    """Embed these images of a pet: command `part` of `parts` of one job.

    `image_ids` is empty for a job that names no image: embed asks the storage service which images the pet has.
    `job_images` counts the images of the whole job. `attempt` counts from 1: a retry carries only the images that
    are left. `run` counts from 1: a requeue of dead letters starts the next run of the job, and `requeue` says of which
    letters; then images are embedded again even if they are known. `enqueued_at` is RFC 3339.
    `source` says where the job came from: ``redis:<stream>/<entry id>`` or ``http``. `insights`: by image id, what the
    job says of some of the images.
    """

    type: Literal["EmbedImages"] = "EmbedImages"
    version: Literal[1] = 1
    pet_id: str
    job_id: str
    part: int = 1
    parts: int = 1
    image_ids: tuple[str, ...] = ()
    job_images: int = 0
    reason: str = ""
    force: bool = False
    labels: tuple[str, ...] = ()
    coverage: dict[str, float] = {}
    quality_score: float | None = None
    metadata: dict[str, Any] = {}
    attempt: int = 1
    run: int = 1
    requeue: str = ""
    enqueued_at: str = ""
    source: str = ""
    insights: dict[str, Insight] = {}

    @property
    def job(self) -> str:
        """Names this run of the job within its pet."""
        return run_key(self.job_id, self.run, self.requeue)

    @property
    def id(self) -> str:
        """`ce_id`: depends on the run, the part and the try alone, so that a repeat has the same."""
        return message_id("job", self.pet_id, self.job, self.part, self.attempt)


class PurgePet(msgspec.Struct, frozen=True, kw_only=True):
    """Destroy everything about a pet that was asked for up to `accepted_at` (RFC 3339), when the caller got its 202."""

    type: Literal["PurgePet"] = "PurgePet"
    version: Literal[1] = 1
    pet_id: str
    purge_id: str
    accepted_at: str
    who: str
    why: str

    @property
    def id(self) -> str:
        """`ce_id`."""
        return message_id("purge", self.pet_id, self.purge_id)


class _Tag(msgspec.Struct):
    """What tells whose command a message is, whatever else a later release has changed."""

    type: str = "EmbedImages"
    version: int = 1


_decoder = msgspec.json.Decoder(EmbedImages)
_purge_decoder = msgspec.json.Decoder(PurgePet)
_tag_decoder = msgspec.json.Decoder(_Tag)
_UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode_request(raw: bytes | None) -> EmbedImages | PurgePet:
    """Any command of a message on `media.jobs`; raises as `decode_command` does."""
    try:
        tag = _tag_decoder.decode(raw or b"")
    except _UNDECODABLE:
        return decode_command(raw)
    return _decode_purge(raw or b"") if (tag.type, tag.version) == ("PurgePet", 1) else decode_command(raw)


def _decode_purge(raw: bytes) -> PurgePet:
    try:
        purge = _purge_decoder.decode(raw)
    except _UNDECODABLE as error:
        raise DeadLetter(f"not a command: {error}"[:MAX_TEXT]) from error
    check_id(purge.pet_id, "pet_id")
    check_id(purge.purge_id, "purge_id")
    for field in ("who", "why"):
        check_text(getattr(purge, field), field)
    if parse_timestamp(purge.accepted_at) is None:
        raise InvalidInput("accepted_at", "must be RFC 3339 with a zone")
    return purge


def decode_command(raw: bytes | None) -> EmbedImages:
    """The command of a message on `media.jobs` that asks for images.

    Raises UnknownVersion for a newer release's command, DeadLetter for anything that is no command; both name the
    field. What it returns is within `schemas.bounds`, so that the facts and letters made of it fit their topics.
    """
    try:
        command = _decoder.decode(raw or b"")
    except _UNDECODABLE as error:
        if _may_be_newer(raw or b""):
            raise UnknownVersion(f"a newer release's command: {error}"[:MAX_TEXT]) from error
        raise DeadLetter(f"not a command: {error}"[:MAX_TEXT]) from error
    check_id(command.pet_id, "pet_id")
    check_id(command.job_id, "job_id")
    _check_numbers(command)
    _check_context(command)
    if command.enqueued_at and parse_timestamp(command.enqueued_at) is None:
        raise InvalidInput("enqueued_at", "must be RFC 3339 with a zone")
    if len(command.image_ids) > MAX_IMAGES_PER_COMMAND:
        raise InvalidInput("image_ids", f"must be at most {MAX_IMAGES_PER_COMMAND}, got {len(command.image_ids)}")
    for index, image_id in enumerate(command.image_ids):
        check_id(image_id, f"image_ids[{index}]")
    _check_insights(command)
    return command


def _check_numbers(command: EmbedImages) -> None:
    check_integer(command.parts, "parts", 1)
    check_integer(command.part, "part", 1, command.parts)
    check_integer(command.job_images, "job_images", 0)
    check_integer(command.attempt, "attempt", 1)
    check_integer(command.run, "run", 1)
    if command.requeue:
        check_id(command.requeue, "requeue")


def _check_context(command: EmbedImages) -> None:
    """What every fact and letter of the command repeats."""
    for field in ("reason", "enqueued_at", "source"):
        check_text(getattr(command, field), field)
    check_items(command.labels, "labels")
    for index, label in enumerate(command.labels):
        check_text(label, f"labels[{index}]", MAX_NAME)
    check_items(command.coverage, "coverage")
    for name in command.coverage:
        check_text(name, "coverage", MAX_NAME)
    check_tree(command.metadata, "metadata")
    size = len(msgspec.json.encode(command.metadata))
    if size > MAX_METADATA_BYTES:
        raise InvalidInput("metadata", f"has {size} bytes, the limit is {MAX_METADATA_BYTES}")


def _check_insights(command: EmbedImages) -> None:
    for image_id, insight in command.insights.items():
        check_id(image_id, "insights")
        if image_id not in command.image_ids:
            raise InvalidInput(f"insights.{image_id}", "is about an image that the command does not name")
        check_insight(insight, f"insights.{image_id}")


def _may_be_newer(raw: bytes) -> bool:
    """Whether a later release may have written it: a command of another type, or of a later version."""
    try:
        tag = _tag_decoder.decode(raw)
    except _UNDECODABLE:
        return False
    return tag.type != "EmbedImages" or tag.version > 1


def split_images(template: EmbedImages, image_ids: Sequence[str]) -> list[EmbedImages]:
    """Commands of at most 64 images for one job; at least one, so that a job without images is asked too."""
    step = MAX_IMAGES_PER_COMMAND
    chunks = [tuple(image_ids[start : start + step]) for start in range(0, len(image_ids), step)] or [()]
    return [
        msgspec.structs.replace(for_images(template, chunk), part=part, parts=len(chunks), job_images=len(image_ids))
        for part, chunk in enumerate(chunks, start=1)
    ]


def for_images(command: EmbedImages, image_ids: tuple[str, ...]) -> EmbedImages:
    """The command for these images, with what it says of them."""
    insights = {image_id: command.insights[image_id] for image_id in image_ids if image_id in command.insights}
    return msgspec.structs.replace(command, image_ids=image_ids, insights=insights)
