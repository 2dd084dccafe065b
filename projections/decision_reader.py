"""What is read of users' decisions: to show them, to wait for one, and to see early that one cannot be carried out.

Used by `app.decisions` and by the readers of history. Clusters have their public ids here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from projections.cursors import INT64_MAX, pack, unpack, whole_number
from projections.queries import load
from schemas.headers import timestamp
from schemas.ids import cluster_id

DecisionState = Literal["accepted", "refused", "undone"]
_CLUSTER: Final = re.compile(r"\bcluster (\d+)\b")
"""How the fold's reasons name one."""
DecisionKey = tuple[str, str]
"""A pet's id and a decision's."""


class DecisionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A decision and what became of it. `version`: the one that it made, or at which it was refused.

    `arguments` are as its kind takes them. `code`, `reason`: of a refusal. `cluster`: which one it is about, as a merge
    keeps or a split begins it. `images`: how many lie elsewhere since. `undone_by`: the decision that took it back.
    `decided_at`, `log_partition`, `log_offset`: of the fact.
    """

    pet_id: str
    decision_id: str
    kind: str
    arguments: dict[str, Any]
    expected_version: int
    who: str
    why: str
    state: DecisionState
    version: int
    code: str | None
    reason: str | None
    cluster: str | None
    images: int
    undone_by: str | None
    decided_at: str
    log_partition: int
    log_offset: int


class DecidedBy(msgspec.Struct, frozen=True, kw_only=True):
    """Which decision something comes from; of one that Postgres has not got yet nothing but its id is known."""

    decision_id: str
    kind: str | None
    who: str | None
    why: str | None
    version: int | None


@dataclass(frozen=True, slots=True)
class DecisionFilter:
    """Which decisions a list shows; None: whatever they have there. `cluster`: a number."""

    kind: str | None = None
    state: DecisionState | None = None
    cluster: int | None = None
    image_id: str | None = None


@dataclass(frozen=True, slots=True)
class ClusterNow:
    """A cluster that the pet has or had. `ended`: the version that ended it; `heir`: the one that has its members."""

    ended: int | None
    heir: int | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What a decision is held to early: the pet's last `version` (0: it has none), and how that stands which the
    decision names. What the pet has not is not in the mappings; -1 is where an image lies that lies in no cluster.
    """

    version: int
    clusters: Mapping[int, ClusterNow]
    images: Mapping[str, int]


class DecisionReader:
    """Reads on an asyncpg pool, which raises asyncpg's or OSError's errors while Postgres is away."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def find(self, pet_id: str, decision_id: str) -> DecisionRow | None:
        """A decision of the pet; None when none of this id is known."""
        return (await read_decisions(self._pool, [(pet_id, decision_id)])).get((pet_id, decision_id))

    async def page(
        self, pet_id: str, which: DecisionFilter, limit: int, cursor: str | None = None
    ) -> tuple[list[DecisionRow], str | None]:
        """A page of the pet's decisions, newest first, and the cursor of the next. Raises InvalidInput for a cursor."""
        before = whole_number(unpack(cursor, 1)[0]) if cursor else INT64_MAX
        filters = (which.kind, which.state, which.cluster, which.image_id)
        rows = await self._pool.fetch(load("list_decisions"), pet_id, before, limit + 1, *filters)
        page = [_decision(row) for row in rows[:limit]]
        return page, pack(page[-1].log_offset) if len(rows) > limit else None

    async def standing(self, pet_id: str, clusters: Collection[int], images: Collection[str]) -> Standing:
        """How a pet stands now, in one snapshot."""
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            version = await connection.fetchval(load("read_last_version"), pet_id)
            ends = await connection.fetch(load("list_clusters_now"), pet_id, list(clusters))
            places = await connection.fetch(load("list_images_now"), pet_id, list(images))
        return Standing(
            version=version,
            clusters={row["number"]: ClusterNow(row["until_version"], row["heir"]) for row in ends},
            images={row["image_id"]: row["cluster_number"] for row in places},
        )


async def read_decisions(pool: Any, keys: Collection[DecisionKey]) -> dict[DecisionKey, DecisionRow]:
    """Those that are known."""
    pets, ids = [pet_id for pet_id, _ in keys], [decision_id for _, decision_id in keys]
    rows = [_decision(row) for row in await pool.fetch(load("read_decisions"), pets, ids)]
    return {(row.pet_id, row.decision_id): row for row in rows}


def decided_by(row: Any) -> DecidedBy | None:
    """Of a row with the columns `decision_id`, `kind`, `who`, `why`, `decision_version`; None without an id."""
    if row["decision_id"] is None:
        return None
    return DecidedBy(
        decision_id=row["decision_id"],
        kind=row["kind"],
        who=row["who"],
        why=row["why"],
        version=row["decision_version"],
    )


def named(pet_id: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments with the public ids of clusters for their numbers."""
    shown = dict(arguments)
    if isinstance(number := shown.get("cluster"), int):
        shown["cluster"] = cluster_id(pet_id, number)
    if isinstance(numbers := shown.get("clusters"), list):
        shown["clusters"] = [cluster_id(pet_id, each) if isinstance(each, int) else each for each in numbers]
    return shown


def _decision(row: Any) -> DecisionRow:
    state: DecisionState = "accepted" if row["accepted"] else "refused"
    return DecisionRow(
        pet_id=row["pet_id"],
        decision_id=row["decision_id"],
        kind=row["kind"],
        arguments=named(row["pet_id"], msgspec.json.decode(row["arguments"])),
        expected_version=row["expected_version"],
        who=row["who"],
        why=row["why"],
        state="undone" if row["accepted"] and row["undone_by"] is not None else state,
        version=row["version"],
        code=row["code"] or None,
        reason=_CLUSTER.sub(lambda match: f"cluster {cluster_id(row['pet_id'], int(match[1]))}", row["reason"]) or None,
        cluster=None if row["cluster"] is None else cluster_id(row["pet_id"], row["cluster"]),
        images=row["images"],
        undone_by=row["undone_by"],
        decided_at=timestamp(row["decided_at"]),
        log_partition=row["log_partition"],
        log_offset=row["log_offset"],
    )
