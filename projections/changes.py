"""A version message as the columns that the statements of `projections.postgres` take. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from projections.text import clean, count, jsonb, moment
from schemas.errors import InvalidInput
from schemas.headers import timestamp
from schemas.ids import check_id, version_key
from schemas.versions import (
    ClusterChange,
    DecidedChange,
    GroupedChange,
    GroupedCluster,
    GroupedHero,
    GroupedVersion,
    MemberChange,
    PetVersion,
)

REMOVED: Final = "removed"
"""The rule of a change that ends an image's row and opens none."""
NO_COMPONENT: Final = -1


@dataclass(frozen=True, slots=True)
class Changes:
    """What one version writes; each tuple of columns is in the order of its statement's arrays.

    `components`: of `members`, `NO_COMPONENT` where the engine has none; their metadata says it, too.
    """

    key: UUID
    pet_id: str
    version: int
    version_row: tuple[Any, ...]
    moves: tuple[list[int], list[int], list[int]]
    merges: tuple[list[int], list[int]]
    closed: tuple[list[str], list[int], list[int | None]]
    members: tuple[list[str], list[int], list[float], list[str]]
    components: list[int]
    summaries: tuple[list[int], list[str], list[int], list[float], list[int | None]]
    heroes: tuple[list[int], list[str], list[float], list[int], list[str | None]]


def changes_of(version: PetVersion) -> Changes:
    """The columns of a version. Raises InvalidInput for a value that no column holds, or for merges in a circle."""
    # The last entry of an image or a cluster wins: two current rows of one could not stand beside each other.
    members = list({change.image_id: change for change in version.members}.values())
    clusters = list({change.number: change for change in version.clusters}.values())
    placed = [change for change in members if change.rule != REMOVED]
    standing = [change for change in clusters if change.merged_into < 0 and change.member_count > 0]
    merges = merge_targets(clusters)
    key = version_key(check_id(version.pet_id, "pet_id"), version.version)
    return Changes(
        key=key,
        pet_id=version.pet_id,
        version=version.version,
        version_row=_version_row(key, version),
        moves=_moves(version),
        merges=(list(merges), list(merges.values())),
        closed=(
            [check_id(change.image_id, "members.image_id") for change in members],
            [change.number for change in clusters],
            [change.merged_into if change.merged_into >= 0 else None for change in clusters],
        ),
        members=(
            [change.image_id for change in placed],
            [change.cluster for change in placed],
            [change.score for change in placed],
            [jsonb(_metadata(change)) for change in placed],
        ),
        components=[change.component if isinstance(change, GroupedChange) else NO_COMPONENT for change in placed],
        summaries=(
            [change.number for change in standing],
            [clean(change.label) for change in standing],
            [count(change.member_count, "clusters.member_count") for change in standing],
            [change.tightness for change in standing],
            [_split_from(change) for change in standing],
        ),
        heroes=_heroes(standing),
    )


def _moves(version: PetVersion) -> tuple[list[int], list[int], list[int]]:
    """Components, the clusters that they leave and the clusters that they come to."""
    moves = version.moves if isinstance(version, GroupedVersion) else ()
    return [move.component for move in moves], [move.source for move in moves], [move.target for move in moves]


def merge_targets(clusters: Iterable[ClusterChange]) -> dict[int, int]:
    """For each merged cluster, the cluster that holds its members after this version, chains followed to their end."""
    step = {change.number: change.merged_into for change in clusters if change.merged_into >= 0}
    targets = {}
    for source in step:
        target, seen = step[source], {source}
        while target in step:
            if target in seen:
                raise InvalidInput("clusters.merged_into", f"cluster {source} is merged into itself")
            seen.add(target)
            target = step[target]
        targets[source] = target
    return targets


def _version_row(key: UUID, version: PetVersion) -> tuple[Any, ...]:
    updated_at = moment(version.time, "time")
    metrics = {
        "coverage": version.coverage,
        "quality_score": version.quality_score,
        "processed_at": timestamp(updated_at),
    }
    return (
        key,
        version.pet_id,
        count(version.version, "version", 2**63 - 1),
        count(version.cluster_count, "cluster_count"),
        count(version.image_count, "image_count"),
        count(version.unclustered_count, "unclustered_count"),
        jsonb(metrics),
        clean(version.job_id),
        clean(version.model),
        clean(version.policy_id),
        count(version.max_cluster_size, "max_cluster_size"),
        version.partition,
        version.offset,
        updated_at,
    )


def _split_from(change: ClusterChange) -> int | None:
    return change.split_from if isinstance(change, GroupedCluster) and change.split_from >= 0 else None


def _metadata(change: MemberChange) -> dict[str, Any]:
    """What a member's row keeps beside the columns; the perceptual hash as hex, since JSON numbers end at 2^53."""
    grouped: dict[str, Any] = {}
    if isinstance(change, GroupedChange):
        grouped = {"component": change.component, "membership": change.membership}
        if change.duplicate_of:
            grouped["duplicate_of"] = check_id(change.duplicate_of, "members.duplicate_of")
    if isinstance(change, DecidedChange) and change.decision:
        grouped["decision"] = check_id(change.decision, "members.decision")
    return {
        **grouped,
        "quality": change.quality,
        "phash": f"{change.phash & (2**64 - 1):016x}",
        "width": change.width,
        "height": change.height,
        "taken_at": change.taken_at,
        "rule": change.rule,
        "runner_up": change.runner_up,
        "runner_up_score": change.runner_up_score,
    }


def _heroes(clusters: list[ClusterChange]) -> tuple[list[int], list[str], list[float], list[int], list[str | None]]:
    """Columns of the heroes, ranks from 1; an image is one cluster's hero once. No parts: NULL."""
    rows: dict[str, tuple[int, str, float, int, str | None]] = {}
    for change in clusters:
        for rank, hero in enumerate(change.heroes, start=1):
            parts = jsonb(hero.parts) if isinstance(hero, GroupedHero) and hero.parts else None
            rows.setdefault(hero.image_id, (change.number, hero.image_id, hero.score, rank, parts))
    heroes = list(rows.values())
    return (
        [number for number, _, _, _, _ in heroes],
        [image_id for _, image_id, _, _, _ in heroes],
        [score for _, _, score, _, _ in heroes],
        [rank for _, _, _, rank, _ in heroes],
        [parts for _, _, _, _, parts in heroes],
    )
