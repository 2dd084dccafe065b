"""Facts on `media.pet-log`: what happened, for ever. msgpack inside an envelope (see `schemas.codec`).

Each stands alone: folding needs nothing but the facts before it. Frozen, past tense; new fields need defaults, no field
is ever retyped. Inner structs are arrays (`array_like`), because a vector's neighbours must not cost more than itself.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from schemas.ids import run_key
from schemas.insights import Insight

UNMEASURED: Final = -1.0
"""A part of the quality that the release that measured it did not know."""


class Quality(msgspec.Struct, frozen=True, array_like=True):
    """Measured quality of an image; each part and the total lie in 0…1, or are UNMEASURED.

    `highlights`, `cleanness`, `evenness`: freedom of burnt-out pixels, of noise, of a JPEG's blocks.
    """

    score: float = 0.0
    sharpness: float = 0.0
    exposure: float = 0.0
    contrast: float = 0.0
    resolution: float = 0.0
    highlights: float = UNMEASURED
    cleanness: float = UNMEASURED
    evenness: float = UNMEASURED


class PlainImage(msgspec.Struct, frozen=True, array_like=True):
    """One image with its vector, as it is written when nothing is said of it.

    `vector`: d little-endian int16, round(x * 4096) of the unit vector x. `phash`: 64-bit perceptual hash. `width`,
    `height`: pixels as displayed. `taken_at`: EXIF time, else the insight's, ISO 8601 without zone, or
    empty. `sha256`: of the file's bytes.
    """

    image_id: str
    vector: bytes
    quality: Quality
    phash: int = 0
    width: int = 0
    height: int = 0
    taken_at: str = ""
    sha256: bytes = b""
    size_bytes: int = 0


class EmbeddedImage(PlainImage, frozen=True, array_like=True):
    """One image with its vector. `insight`: what its job says of it."""

    insight: Insight | None = None

    def written(self) -> PlainImage:
        """What is encoded: the bytes of an image of which nothing is said are those that they always were."""
        return self if self.insight is not None else PlainImage(*msgspec.structs.astuple(self)[:-1])


class FailedImage(msgspec.Struct, frozen=True, array_like=True):
    """An image that will not be embedded, and why. `kind` is a stable word, e.g. ``not_found``, ``not_an_image``."""

    image_id: str
    kind: str
    reason: str


class JobContext(msgspec.Struct, frozen=True, kw_only=True):
    """The command that a fact answers."""

    job_id: str
    part: int = 1
    parts: int = 1
    attempt: int = 1
    run: int = 1
    requeue: str = ""
    reason: str = ""
    force: bool = False
    labels: tuple[str, ...] = ()
    coverage: dict[str, float] = {}
    quality_score: float | None = None
    enqueued_at: str = ""

    @property
    def key(self) -> str:
        """Names this run of the job within its pet."""
        return run_key(self.job_id, self.run, self.requeue)


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all facts."""


WHOLE_LIST: Final = "*"
"""Stands for an image id where the list of a job that names no image could not be had."""


class ImagesEmbedded(Fact, frozen=True, kw_only=True):
    """The answer to one command: exactly one a command, also when nothing is new or everything failed.

    `pending`: images that a retry of this command will try again; the command is settled by the fact that has none.
    Of a job that names no image it may be `WHOLE_LIST` alone. `sealed`: see schemas.sealing; what is left of it after
    decoding can be read by nobody any more, since its key is destroyed.
    """

    job: JobContext
    model: str
    dimension: int
    device: str = ""
    images: tuple[EmbeddedImage, ...] = ()
    known: tuple[str, ...] = ()
    failed: tuple[FailedImage, ...] = ()
    pending: tuple[str, ...] = ()
    sealed: bytes = b""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the fold may decide by; recorded, because the fold reads no setting.

    `join`, `merge`: thresholds of the engine. `min_cluster_size`: images a component needs to be a cluster.
    `max_cluster_size`: members that an answer lists. `max_components`: bound of the state of one pet.
    `max_snapshot_clusters`, `max_snapshot_members`: bounds of one message on `media.clusters.updated`.
    """

    policy_id: str = "default-1"
    engine: str = "leader-merge"
    engine_version: int = 1
    join: float = 0.65
    merge: float = 0.70
    min_cluster_size: int = 2
    max_cluster_size: int = 24
    max_components: int = 512
    max_snapshot_clusters: int = 12
    max_snapshot_members: int = 24


MIXTURE_POLICY: Final = Policy(policy_id="mixture-1", engine="mixture", join=0.80, merge=0.56, max_components=1024)
"""What new deployments fold by. `Policy()` is what a log folds by that records no policy, and stays as it is."""


class PolicyChanged(Fact, frozen=True, kw_only=True):
    """From here on this partition folds by `policy`. Written to every partition."""

    policy: Policy


class ModelPromoted(Fact, frozen=True, kw_only=True):
    """From here on this partition folds vectors of `model`. Written to every partition."""

    model: str
    dimension: int


class ReclusterRequested(Fact, frozen=True, kw_only=True):
    """Fold the pet's retained vectors again from the start, under the policy in force."""

    request_id: str
    reason: str = ""


class ImagesRemoved(Fact, frozen=True, kw_only=True):
    """These images no longer belong to the pet. `sealed`: as of ImagesEmbedded."""

    request_id: str
    image_ids: tuple[str, ...]
    reason: str = ""
    sealed: bytes = b""


class DecisionSubmitted(Fact, frozen=True, kw_only=True):
    """A user's decision, made while looking at `expected_version`. `sealed`: as of ImagesEmbedded."""

    decision_id: str
    kind: str
    expected_version: int
    arguments: dict[str, Any] = {}
    who: str = ""
    why: str = ""
    sealed: bytes = b""


class PetPurged(Fact, frozen=True, kw_only=True):
    """Everything about the pet is destroyed; numbering goes on from here.

    `keys`: ids of all keys under which facts before this one are sealed. Jobs enqueued up to `accepted_until`
    (RFC 3339) are ignored, whenever they come. `last_version`, `next_cluster`: where the pet's numbers stood, -1 while
    its facts can still be read; once the keys are destroyed, `schemas.codec` fills them in from what is left of these.
    """

    purge_id: str
    accepted_until: str
    keys: tuple[str, ...] = ()
    last_version: int = -1
    next_cluster: int = -1
    who: str = ""
    why: str = ""
