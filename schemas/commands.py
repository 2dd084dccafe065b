"""Commands on `media.jobs`: what was asked, from Redis or over HTTP. JSON, keyed by pet_id.

Made by `bridges.translate`, read by the embed agent and by the job projection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from schemas.errors import DeadLetter, InvalidInput, UnknownVersion
from schemas.headers import parse_timestamp
from schemas.ids import check_id, message_id, run_key

MAX_IMAGES_PER_COMMAND: Final = 64
MAX_IMAGES_PER_JOB: Final = 10_000
EMBED_IMAGES_TYPE: Final = "media.EmbedImages.v1"


class EmbedImages(msgspec.Struct, frozen=True, kw_only=True):
    """Embed these images of a pet: command `part` of `parts` of one job.

    `image_ids` is empty for a job that names no image: embed asks the storage service which images the pet has.
    `job_images` counts the images of the whole job. `attempt` counts from 1: a retry carries only the images that
    are left. `run` counts from 1: a requeue of dead letters starts the next run of the job, and `requeue` says of which
    letters; then images are embedded again even if they are known. `enqueued_at` is RFC 3339.
    `source` says where the job came from: ``redis:<stream>/<entry id>`` or ``http``.
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

    @property
    def job(self) -> str:
        """Names this run of the job within its pet."""
        return run_key(self.job_id, self.run, self.requeue)

    @property
    def id(self) -> str:
        """`ce_id`: depends on the run, the part and the try alone, so that a repeat has the same."""
        return message_id("job", self.pet_id, self.job, self.part, self.attempt)


_decoder = msgspec.json.Decoder(EmbedImages)


def decode_command(raw: bytes | None) -> EmbedImages:
    """The command of a message on `media.jobs`.

    Raises UnknownVersion for a newer release's command, DeadLetter for anything that is no command; both name the
    field.
    """
    try:
        command = _decoder.decode(raw or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if "$.version" in str(error) or "$.type" in str(error):
            raise UnknownVersion(f"not a command of this release: {error}") from error
        raise DeadLetter(f"not a command: {error}") from error
    check_id(command.pet_id, "pet_id")
    check_id(command.job_id, "job_id")
    if not 1 <= command.part <= command.parts:
        raise InvalidInput("part", f"must be 1 to {command.parts}, got {command.part}")
    if command.enqueued_at and parse_timestamp(command.enqueued_at) is None:
        raise InvalidInput("enqueued_at", "must be RFC 3339 with a zone")
    if len(command.image_ids) > MAX_IMAGES_PER_COMMAND:
        raise InvalidInput("image_ids", f"must be at most {MAX_IMAGES_PER_COMMAND}, got {len(command.image_ids)}")
    for index, image_id in enumerate(command.image_ids):
        check_id(image_id, f"image_ids[{index}]")
    return command


def split_images(template: EmbedImages, image_ids: Sequence[str]) -> list[EmbedImages]:
    """Commands of at most 64 images for one job; at least one, so that a job without images is asked too."""
    step = MAX_IMAGES_PER_COMMAND
    chunks = [tuple(image_ids[start : start + step]) for start in range(0, len(image_ids), step)] or [()]
    return [
        msgspec.structs.replace(template, part=part, parts=len(chunks), image_ids=chunk, job_images=len(image_ids))
        for part, chunk in enumerate(chunks, start=1)
    ]
