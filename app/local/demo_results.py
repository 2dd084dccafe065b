"""Judges the demo's answers: is every photo there, and do the clusters agree with the known bursts? Pure.

Called by app/local/demo.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from sklearn.metrics import adjusted_rand_score

from app.local.photos import Album
from schemas.answers import ClusterAnswer


@dataclass(frozen=True)
class PetResult:
    """A pet's album and what the service made of it."""

    album: Album
    answer: ClusterAnswer

    def ari(self) -> float | None:
        """Adjusted Rand index against the bursts (Hubert and Arabie 1985), 1 for the same partition; None if unknown.

        A photo in no burst, or in no cluster, is a class of its own.
        """
        if not self.album.labelled:
            return None
        found = {m.image_id: cluster.id for cluster in self.answer.clusters for m in cluster.members}
        truth = [photo.burst or photo.image_id for photo in self.album.photos]
        return float(adjusted_rand_score(truth, [found.get(p.image_id, p.image_id) for p in self.album.photos]))

    def missing(self) -> list[str]:
        """Photos that are neither in a cluster nor in `unclustered`, and what else does not add up.

        An answer lists at most so many members a cluster; where it does not list all, the counts must still add up.
        """
        answer = self.answer
        listed = [member.image_id for cluster in answer.clusters for member in cluster.members]
        listed += answer.unclustered
        expected = {photo.image_id for photo in self.album.photos}
        problems = [f"{image_id} is listed and was never sent" for image_id in listed if image_id not in expected]
        if len(set(listed)) != len(listed):
            problems.append("a photo is listed twice")
        counted = sum(cluster.member_count for cluster in answer.clusters) + answer.unclustered_count
        if counted == len(listed):
            problems += [f"{image_id} is missing" for image_id in sorted(expected.difference(listed))]
        elif counted != len(expected):
            problems.append(f"{len(expected)} photos were sent, {counted} are accounted for")
        return problems


def mean_ari(results: list[PetResult]) -> float | None:
    """Over the pets whose bursts are known."""
    known = [ari for result in results if (ari := result.ari()) is not None]
    return sum(known) / len(known) if known else None
