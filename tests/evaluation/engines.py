"""Folds an album as the service does and reads the published answer. Used wherever an engine is evaluated.

Photos arrive in facts of ten under a recorded policy, go through tables.replay, and what is read are the versions that
the projections get: an engine needs nothing else to be evaluated here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.codec import encode_fact
from schemas.facts import MIXTURE_POLICY, EmbeddedImage, Fact, ImagesEmbedded, JobContext, Policy, PolicyChanged
from schemas.ids import UNCLUSTERED
from schemas.topics import PARTITION_FACTS_KEY
from schemas.versions import GroupedVersion, Hero, PetErased, PetVersion
from tables.replay import LogReplay

JOB_PHOTOS: Final = 10
MODEL: Final = "efficientnet-lite0@1"
PET: Final = "pet_0123456789"
_TIME: Final = "2026-11-21T00:00:00.000000+00:00"

POLICIES: Final = {"mixture 1": MIXTURE_POLICY, "leader-merge 1": Policy(engine="leader-merge", engine_version=1)}
"""The engines that are evaluated; a new one of tables.engines is entered here."""


@dataclass
class Published:
    """What the versions so far say: image → cluster number (-1: none), cluster → heroes, best first."""

    clusters: dict[str, int] = field(default_factory=dict)
    components: dict[str, int] = field(default_factory=dict)
    heroes: dict[int, tuple[Hero, ...]] = field(default_factory=dict)

    def apply(self, version: PetVersion) -> None:
        """Take the next version, in the order that schemas.versions prescribes."""
        if isinstance(version, GroupedVersion):
            moves = {(move.component, move.source): move.target for move in version.moves}
            for image, number in self.clusters.items() if moves else ():
                self.clusters[image] = moves.get((self.components.get(image, -1), number), number)
            self.components |= {member.image_id: member.component for member in version.members}
        merged = {change.number: change.merged_into for change in version.clusters if change.merged_into >= 0}
        if merged:
            self.clusters = {image: merged.get(number, number) for image, number in self.clusters.items()}
        for member in version.members:
            if member.rule == "removed":
                self.clusters.pop(member.image_id, None)
            else:
                self.clusters[member.image_id] = member.cluster
        for change in version.clusters:
            self.heroes.pop(change.number, None)
            if change.merged_into < 0:
                self.heroes[change.number] = change.heroes

    def labels(self, images: Sequence[EmbeddedImage]) -> NDArray[np.int64]:
        """int[n]: the cluster number of each image, -1 for none."""
        return np.array([self.clusters.get(image.image_id, UNCLUSTERED) for image in images], np.int64)


def fold(images: Sequence[EmbeddedImage], policy: Policy, job_photos: int = JOB_PHOTOS) -> Published:
    """The answer after all `images`, in this order. Raises RuntimeError when the fold refuses a fact."""
    replay, published = LogReplay(0), Published()
    for offset, (key, value) in enumerate(log(images, policy, job_photos)):
        version = replay.feed(offset, key, value)
        if isinstance(version, PetErased):
            raise RuntimeError(f"the fold purged the album at {offset}")
        if version is not None:
            published.apply(version)
    if replay.refused:
        raise RuntimeError(f"the fold refused {replay.refused[0]}")
    return published


def labels(images: Sequence[EmbeddedImage], policy: Policy) -> NDArray[np.int64]:
    """int[n]: the cluster in which each image ends, -1 for none."""
    return fold(images, policy).labels(images)


def log(images: Sequence[EmbeddedImage], policy: Policy, job_photos: int = JOB_PHOTOS) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of the log's records: the policy, then one fact a job."""
    yield _record("policy", PARTITION_FACTS_KEY, PolicyChanged(policy=policy))
    for start in range(0, len(images), job_photos):
        batch = tuple(images[start : start + job_photos])
        job = JobContext(job_id=f"job-{start:06}")
        dimension = len(batch[0].vector) // 2
        yield _record(job.job_id, PET, ImagesEmbedded(job=job, model=MODEL, dimension=dimension, images=batch))


def described(policy: Policy) -> dict[str, Any]:
    """What of a policy differs from this release's default."""
    return {
        name: value for name in policy.__struct_fields__ if (value := getattr(policy, name)) != getattr(Policy(), name)
    }


def _record(event: str, pet: str, fact: Fact) -> tuple[bytes, bytes]:
    return pet.encode(), encode_fact(fact, event_id=event, time=_TIME, pet_id=pet)
