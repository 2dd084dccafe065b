"""Rows become the answer that the views send and the cache holds. Used by the reader, the projector and snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from projections.queries import load
from schemas.answers import AnswerCluster, AnswerHero, AnswerMember, AnswerMetrics, ClusterAnswer
from schemas.headers import timestamp
from schemas.ids import cluster_id


class MemberRow(msgspec.Struct, frozen=True, array_like=True):
    """A member as `read_latest_answer.sql` lists it, best score first."""

    image_id: str
    score: float
    duplicate_of: str | None = None


class HeroRow(msgspec.Struct, frozen=True, array_like=True):
    """A hero, by rank. `parts`: of its score, None where none were recorded."""

    image_id: str
    rank: int
    score: float
    parts: dict[str, float] | None = None

    def answer(self) -> AnswerHero:
        """As callers get it; jsonb keeps no order of keys, so the parts are in that of their names."""
        parts = msgspec.UNSET if self.parts is None else dict(sorted(self.parts.items()))
        return AnswerHero(self.image_id, self.rank, self.score, parts)


class ClusterRow(msgspec.Struct, frozen=True, array_like=True):
    """A cluster with its best members and its heroes, by number."""

    number: int
    label: str
    member_count: int
    members: tuple[MemberRow, ...]
    heroes: tuple[HeroRow, ...]


class _Metrics(msgspec.Struct, frozen=True):
    coverage: dict[str, float]
    quality_score: float | None
    processed_at: str


_cluster_rows = msgspec.json.Decoder(tuple[ClusterRow, ...])
_metrics = msgspec.json.Decoder(_Metrics)


async def read_latest(connection: Any, pet_id: str) -> ClusterAnswer | None:
    """The answer at the pet's last version, None for a pet never clustered. One statement, hence one version."""
    row = await connection.fetchrow(load("read_latest_answer"), pet_id)
    return None if row is None else build_answer(row)


async def read_at(connection: Any, pet_id: str, version: int) -> ClusterAnswer | None:
    """The answer as it was at `version`, from the rows that held then; None when there is no such version."""
    row = await connection.fetchrow(load("read_answer_at"), pet_id, version)
    return None if row is None else build_answer(row)


def build_answer(row: Any) -> ClusterAnswer:
    """The answer from one row of `read_latest_answer.sql` or `read_answer_at.sql`."""
    clusters = _cluster_rows.decode(row["clusters"]) if row["clusters"] else ()
    metrics = _metrics.decode(row["metrics"])
    return ClusterAnswer(
        pet_id=row["pet_id"],
        clusters=tuple(_cluster(row["pet_id"], cluster) for cluster in clusters),
        metrics=AnswerMetrics(metrics.coverage, metrics.quality_score, metrics.processed_at),
        updated_at=timestamp(row["updated_at"]),
        image_count=row["image_count"],
        unclustered_count=row["unclustered_count"],
        unclustered=tuple(row["unclustered"]),
        generation=row["generation"],
        version=row["version"],
    )


def _cluster(pet_id: str, row: ClusterRow) -> AnswerCluster:
    members = tuple(
        AnswerMember(member.image_id, member.score, position) for position, member in enumerate(row.members)
    )
    heroes = tuple(hero.answer() for hero in row.heroes)
    # Callers rely on a hero; a cluster that was given none shows its best member.
    shown = heroes[0].image_id if heroes else members[0].image_id if members else ""
    alike = _near_duplicates(row.members)
    return AnswerCluster(
        cluster_id(pet_id, row.number), row.label, members, shown, row.member_count, heroes, alike or msgspec.UNSET
    )


def _near_duplicates(members: Sequence[MemberRow]) -> tuple[tuple[str, ...], ...]:
    """The groups of near-duplicates of which the answer lists two or more, the best member first."""
    groups: dict[str, list[str]] = {}
    for member in members:
        groups.setdefault(member.duplicate_of or member.image_id, []).append(member.image_id)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)
