"""The answer of `GET /internal/pets/{pet_id}/clusters`, and of the Redis cache, which holds these very bytes.

Key order is part of the contract with existing callers: the first keys of each object stand as they always stood, new
ones come behind them. `generation` and `version` are last, so that the cache's compare-and-set can read them there.
"""

from __future__ import annotations

import msgspec


class AnswerMember(msgspec.Struct, frozen=True):
    """A member, best recorded score first. `qualityScore` is always null, as callers have always got it."""

    image_id: str
    score: float
    position: int
    quality_score: None = msgspec.field(default=None, name="qualityScore")


class AnswerHero(msgspec.Struct, frozen=True):
    """A representative image; `rank` 1 is the cluster's hero. `parts`: what the score was made of, each 0…1, where the
    engine records it.
    """

    image_id: str
    rank: int
    score: float
    parts: dict[str, float] | msgspec.UnsetType = msgspec.UNSET


class AnswerCluster(msgspec.Struct, frozen=True):
    """A cluster; `members` lists at most MAX_CLUSTER_SIZE of its `member_count` images.

    `near_duplicates`: which of them are the same picture, encoded, resized or cropped anew; not there without any.
    """

    id: str
    label: str
    members: tuple[AnswerMember, ...]
    hero_image_id: str
    member_count: int
    heroes: tuple[AnswerHero, ...]
    near_duplicates: tuple[tuple[str, ...], ...] | msgspec.UnsetType = msgspec.UNSET


class AnswerMetrics(msgspec.Struct, frozen=True):
    """The last job's values."""

    coverage: dict[str, float]
    quality_score: float | None
    processed_at: str


class ClusterAnswer(msgspec.Struct, frozen=True):
    """All clusters of a pet at `version`. `unclustered` lists the newest images in no cluster, all are counted."""

    pet_id: str
    clusters: tuple[AnswerCluster, ...]
    metrics: AnswerMetrics
    updated_at: str
    image_count: int
    unclustered_count: int
    unclustered: tuple[str, ...]
    generation: int
    version: int


_encoder = msgspec.json.Encoder()


def encode_answer(answer: ClusterAnswer) -> bytes:
    """The bytes that the view sends and the cache stores."""
    return _encoder.encode(answer)
