"""What can be told of a decision before it is written: that the album has not, or no longer, what it names. Pure.

Only what the fold would refuse for certain is refused here, so that no one waits for it. Used by `desk`.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.decisions.draft import Draft
from projections.decision_reader import Standing
from schemas.decisions import Merge, RefusalCode
from schemas.ids import UNCLUSTERED, cluster_id


class PetUnknown(LookupError):
    """Nothing is known of the pet."""


class NotYetAt(Exception):
    """The pet is at `version`, below the one that the decision says it was made at."""

    def __init__(self, version: int) -> None:
        super().__init__(f"the pet is at version {version}")
        self.version = version


class Refused(Exception):
    """The decision is not carried out. `version`: at which the album is looked at. `successor`: of a cluster that was
    merged, the id of the one that has its members.
    """

    def __init__(self, code: RefusalCode | str, reason: str, version: int, successor: str | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.version = version
        self.successor = successor


def clusters_named(draft: Draft) -> tuple[int, ...]:
    """The numbers of the clusters that a decision names."""
    if isinstance(draft.arguments, Merge):
        return draft.arguments.clusters
    number = getattr(draft.arguments, "cluster", None)
    return () if number is None else (number,)


def images_named(draft: Draft) -> tuple[str, ...]:
    """The images that a decision names."""
    one = getattr(draft.arguments, "image_id", None)
    return getattr(draft.arguments, "image_ids", ()) if one is None else (one,)


def check_early(draft: Draft, standing: Standing) -> None:
    """Raises PetUnknown, NotYetAt or Refused."""
    if standing.version == 0:
        raise PetUnknown
    if draft.expected_version > standing.version:
        raise NotYetAt(standing.version)
    for number in clusters_named(draft):
        _check_cluster(draft.pet_id, number, standing)
    _check_images(draft, standing, images_named(draft))


def _check_cluster(pet_id: str, number: int, standing: Standing) -> None:
    name, now = cluster_id(pet_id, number), standing.clusters.get(number)
    if now is None:
        raise Refused("not_found", f"the pet has no cluster {name}", standing.version)
    if now.heir is not None:
        heir = cluster_id(pet_id, now.heir)
        raise Refused("moved_on", f"cluster {name} was merged into {heir}", standing.version, heir)
    if now.ended is not None:
        raise Refused("moved_on", f"cluster {name} ended with version {now.ended}", standing.version)


def _check_images(draft: Draft, standing: Standing, images: Iterable[str]) -> None:
    clusters = clusters_named(draft)
    for image_id in images:
        place = standing.images.get(image_id)
        if place is None:
            raise Refused("not_found", f"the album has no image {image_id}", standing.version)
        if clusters and place not in clusters:
            where = "in no cluster" if place == UNCLUSTERED else f"in {cluster_id(draft.pet_id, place)}"
            named = cluster_id(draft.pet_id, clusters[0])
            raise Refused("moved_on", f"image {image_id} lies {where}, not in {named}", standing.version)
