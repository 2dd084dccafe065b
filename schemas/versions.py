"""Messages on `media.pet-versions`: what changed from a version of a pet to the next. msgpack, keyed by pet_id.

Written by the fold only, read by the projections. Holds changes, not the album, so that its size does not grow with it.
To apply one: first `moves`, then the members of each merged cluster, then `members`, then `clusters`.
"""

from __future__ import annotations

from typing import Final

import msgspec

PET_VERSION_TYPE: Final = "media.PetVersion.v1"
PET_ERASED_TYPE: Final = "media.PetErased.v1"
ERASED_FORMAT: Final = 2
"""`format` of a PetErased; a PetVersion has 1."""
GROUPED_FORMAT: Final = 3
DECIDED_FORMAT: Final = 5
"""4 is that of a DecisionSettled, see schemas.decisions."""


class MemberChange(msgspec.Struct, frozen=True, array_like=True):
    """An image and the cluster it lies in from this version on.

    `cluster`: the cluster's number, -1 (`schemas.ids.UNCLUSTERED`) for none. `score`: cosine to the cluster's direction
    when recorded, 1.0 alone. `rule`: what placed it: ``opened``, ``joined``, ``left`` (its cluster came apart),
    ``reclustered``, ``decided`` (a user's decision holds it there), ``removed`` (no longer in the album; `cluster` is
    then -1 and the image's row ends). `runner_up`: number of the next-best cluster or -1.
    """

    image_id: str
    cluster: int
    score: float
    rule: str
    quality: float = 0.0
    phash: int = 0
    width: int = 0
    height: int = 0
    taken_at: str = ""
    runner_up: int = -1
    runner_up_score: float = 0.0


class Hero(msgspec.Struct, frozen=True, array_like=True):
    """A representative image; heroes are listed best first, the first is the cluster's hero."""

    image_id: str
    score: float


class ClusterChange(msgspec.Struct, frozen=True, array_like=True):
    """A cluster as it stands from this version on.

    `tightness`: ‖Σx‖/n in 0…1, 1 when all members point the same way. `merged_into`: number of the cluster that took
    its members over (then the cluster ends with this version and the other fields are of no use), else -1.
    """

    number: int
    label: str
    member_count: int
    tightness: float
    heroes: tuple[Hero, ...] = ()
    merged_into: int = -1


class PetVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a pet: exactly `version - 1` plus these changes.

    `time`: `ce_time` of the log event (RFC 3339). `partition`, `offset`: the event's position in the log. Counts are
    totals at this version.
    """

    format: int = 1
    pet_id: str
    version: int
    time: str
    partition: int
    offset: int
    job_id: str
    model: str
    policy_id: str
    max_cluster_size: int
    members: tuple[MemberChange, ...]
    clusters: tuple[ClusterChange, ...]
    cluster_count: int
    image_count: int
    unclustered_count: int
    coverage: dict[str, float] = {}
    quality_score: float | None = None


class GroupedChange(MemberChange, frozen=True, array_like=True):
    """As written by engines that group components. `component`: the one that took the image, -1 for none.

    `membership`: posterior probability of the cluster, 0…1, when the image was placed (tables.membership); -1 where it
    was not asked for. `duplicate_of`: the image whose near-duplicate it is, empty for none.
    """

    component: int = -1
    membership: float = -1.0
    duplicate_of: str = ""


class GroupedHero(Hero, frozen=True, array_like=True):
    """As chosen by engines that group components. `parts`: what the score was made of, each 0…1, where measured."""

    parts: dict[str, float] = {}


class GroupedCluster(ClusterChange, frozen=True, array_like=True):
    """As written by engines that group components. `split_from`: number of the cluster that most of its images lay in,
    for one that begins with this version, else -1.
    """

    heroes: tuple[GroupedHero, ...] = ()
    split_from: int = -1


class ComponentMove(msgspec.Struct, frozen=True, array_like=True):
    """From this version on all images that `component` has taken lie in cluster `target` instead of `source`."""

    component: int
    source: int
    target: int


class GroupedVersion(PetVersion, frozen=True, kw_only=True):
    """A version by an engine that groups components. `moves`: so that no move has to name the images."""

    format: int = GROUPED_FORMAT
    members: tuple[GroupedChange, ...]
    clusters: tuple[GroupedCluster, ...]
    moves: tuple[ComponentMove, ...] = ()


class DecidedChange(GroupedChange, frozen=True, array_like=True):
    """As written for pets of which users have decided something. `decision`: id of the one that holds the image where
    it lies, empty for none; its `component` is then -1, so that no move takes it along.
    """

    decision: str = ""


class DecidedVersion(GroupedVersion, frozen=True, kw_only=True):
    """A version of a pet of which users have decided something."""

    format: int = DECIDED_FORMAT
    members: tuple[DecidedChange, ...]


class PetErased(msgspec.Struct, frozen=True, kw_only=True):
    """A purge: nothing of the pet is left, and its next version is `version + 1`.

    `version`: the last one it had, 0 for a pet that had none. `time`, `partition`, `offset`: of the fact `PetPurged`.
    What belongs to jobs enqueued up to `accepted_until` (RFC 3339) must not be written any more, whenever it comes.
    """

    format: int = ERASED_FORMAT
    pet_id: str
    purge_id: str
    version: int
    time: str
    partition: int
    offset: int
    accepted_until: str
    who: str = ""
    why: str = ""
