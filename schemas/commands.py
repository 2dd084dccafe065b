"""Commands on `media.jobs`: what was asked, from Redis or over HTTP. JSON, keyed by pet_id.

Made by `bridges.translate`, read by the embed agent and by the job projection.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

MAX_IMAGES_PER_COMMAND: Final = 64
EMBED_IMAGES_TYPE: Final = "media.EmbedImages.v1"


class EmbedImages(msgspec.Struct, frozen=True, kw_only=True):
    """Embed these images of a pet: command `part` of `parts` of one job.

    `image_ids` is empty for a job that names no image: embed asks the storage service which images the pet has.
    `job_images` counts the images of the whole job. `attempt` counts from 1. `enqueued_at` is RFC 3339.
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
    enqueued_at: str = ""
    source: str = ""
