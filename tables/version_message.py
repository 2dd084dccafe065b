"""Turns what an event changed into the message on `media.pet-versions`. Pure; used by the fold only."""

from __future__ import annotations

from typing import Any

import msgspec

from schemas.facts import JobContext
from schemas.ids import UNCLUSTERED
from schemas.versions import (
    ClusterChange,
    ComponentMove,
    DecidedChange,
    DecidedVersion,
    GroupedChange,
    GroupedCluster,
    GroupedHero,
    GroupedVersion,
    Hero,
    MemberChange,
    PetVersion,
)
from tables.changes import Changes, Position
from tables.engines import engine_of
from tables.faces import Face, FaceOf
from tables.heroes import score, shown_parts
from tables.pet import HEROES_SHOWN, Candidate, Listed, Pet
from tables.shown import View


def build_version(pet: Pet, view: View, face: FaceOf, changes: Changes, job: JobContext, at: Position) -> PetVersion:
    """The message for the version that `pet` has just reached."""
    members = tuple(
        msgspec.structs.replace(m, cluster=_successor(changes, m.cluster)) for m in changes.members.values()
    )
    clusters = view.clusters
    numbers = {clusters.number(component) for component in changes.touched} | changes.clusters
    standing = [_cluster_change(face(number)) for number in numbers if number in clusters]
    ended = [ClusterChange(gone, "", 0, 0.0, (), _successor(changes, gone)) for gone in changes.merged]
    version = PetVersion(
        pet_id=pet.pet_id,
        version=pet.version,
        time=at.time,
        partition=at.partition,
        offset=at.offset,
        job_id=job.job_id,
        model=pet.models[pet.model],
        policy_id=at.policy.policy_id,
        max_cluster_size=at.policy.max_cluster_size,
        members=members,
        clusters=tuple(sorted([*standing, *ended], key=lambda c: c.number)),
        cluster_count=len(clusters),
        image_count=view.image_count,
        unclustered_count=view.unclustered_count,
        coverage=pet.coverage,
        quality_score=pet.quality_score,
    )
    return version if engine_of(at.policy).regroup is None else _grouped(version, changes)


def _grouped(version: PetVersion, changes: Changes) -> GroupedVersion:
    """The same, with what engines that group components tell beside."""
    fields = _fields(version) | {
        "members": tuple(_grouped_change(change, changes) for change in version.members),
        "clusters": tuple(_grouped_cluster(cluster, changes) for cluster in version.clusters),
        "moves": tuple(ComponentMove(*move) for move in changes.moves),
    }
    del fields["format"]
    return GroupedVersion(**fields) if changes.decided_by is None else DecidedVersion(**fields)


def _grouped_change(change: MemberChange, changes: Changes) -> GroupedChange:
    component = changes.component_of.get(change.image_id, -1)
    grouped = GroupedChange(
        **_fields(change),
        component=component,
        membership=changes.memberships.get(change.image_id, -1.0),
        duplicate_of=changes.duplicates.get(change.image_id, ""),
    )
    if changes.decided_by is None:
        return grouped
    return DecidedChange(**_fields(grouped), decision=changes.decided_by.get(change.image_id, ""))


def _grouped_cluster(cluster: ClusterChange, changes: Changes) -> GroupedCluster:
    return GroupedCluster(**_fields(cluster), split_from=changes.begun.get(cluster.number, UNCLUSTERED))


def _fields(struct: PetVersion | MemberChange | ClusterChange) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def _successor(changes: Changes, number: int) -> int:
    while number in changes.merged:
        number = changes.merged[number]
    return number


def _cluster_change(face: Face) -> ClusterChange:
    heroes = tuple(map(_hero, face.heroes[:HEROES_SHOWN]))
    return ClusterChange(face.number, face.label, face.member_count, face.tightness, heroes)


def _hero(hero: Listed) -> Hero:
    if isinstance(hero, Candidate):
        return GroupedHero(hero.image_id, score(hero), shown_parts(hero))
    return Hero(hero.image_id, hero.quality)
