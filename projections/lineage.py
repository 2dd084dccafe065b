"""Where a cluster comes from and what became of it: from the rows that tell of its versions. Called by the reader of
history.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from projections.decision_reader import DecidedBy, decided_by
from projections.missing import Missing
from projections.queries import load
from schemas.headers import timestamp
from schemas.ids import cluster_id

MAX_TURNS: Final = 500
MAX_RELATIONS: Final = 10_000
MAX_RELATIVES: Final = 100
"""Ancestors that are told of, and descendants."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What a version did to a cluster. `label`: what it is called since, null where it ends.

    `cluster`: of which one it was split when it began, or into which one it was merged. `decision`: the user's decision
    that made the version, null where photos did. `at`: null where retention removed the version.
    """

    version: int
    at: str | None
    what: Literal["begun", "renamed", "resumed", "merged", "ended"]
    label: str | None
    cluster: str | None
    decision: DecidedBy | None


class Relative(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster whose images came from another one, or went into it: `how` and at which version it and `of` parted or
    became one. `of` is the cluster asked for, or a nearer relative.
    """

    cluster: str
    how: Literal["split", "merge"]
    of: str
    version: int


class LineageRow(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster's life. `label`: its last. `successor`: which cluster has its members, merges followed to their end.

    `ancestors`: clusters that its images lay in before, nearest first; `descendants`: clusters that images of it went
    to. `known_from`: the pet's first version that is kept; what was before is told where it has left traces.
    """

    cluster: str
    label: str
    successor: str | None
    known_from: int
    turns: list[Turn]
    ancestors: list[Relative]
    descendants: list[Relative]


async def read_lineage(connection: Any, pet_id: str, number: int) -> LineageRow:
    """See `HistoryReader.lineage`; the connection is in a snapshot."""
    if await connection.fetchval(load("read_last_version"), pet_id) == 0:
        raise Missing("pet")
    turns = await connection.fetch(load("list_turns_of_cluster"), pet_id, number, MAX_TURNS)
    if not turns:
        raise Missing("cluster")
    (now,) = await connection.fetch(load("list_clusters_now"), pet_id, [number])
    relations = await connection.fetch(load("list_relations_of_clusters"), pet_id, MAX_RELATIONS)
    return LineageRow(
        cluster=cluster_id(pet_id, number),
        label=turns[-1]["label_before"] if turns[-1]["label"] is None else turns[-1]["label"],
        successor=None if now["heir"] is None else cluster_id(pet_id, now["heir"]),
        known_from=await connection.fetchval(load("read_kept_from"), pet_id),
        turns=[_turn(pet_id, row) for row in turns],
        ancestors=_relatives(pet_id, number, relations[::-1], "child", "parent"),
        descendants=_relatives(pet_id, number, relations, "parent", "child"),
    )


def _turn(pet_id: str, row: Any) -> Turn:
    other, at = row["other"], row["updated_at"]
    return Turn(
        version=row["version"],
        at=timestamp(at) if isinstance(at, datetime) else None,
        what=row["what"],
        label=row["label"],
        cluster=None if other is None else cluster_id(pet_id, other),
        decision=decided_by(row),
    )


def _relatives(pet_id: str, number: int, relations: Sequence[Any], near: str, far: str) -> list[Relative]:
    """Those that `relations` lead to from cluster `number`, in their order: what was merged into a relative only after
    it had parted from the cluster is none of the cluster's.
    """
    found: dict[int, Relative] = {}
    for each in relations:
        if (each[near] == number or each[near] in found) and each[far] != number and each[far] not in found:
            nearer = cluster_id(pet_id, each[near])
            relative = Relative(
                cluster=cluster_id(pet_id, each[far]), how=each["how"], of=nearer, version=each["version"]
            )
            found[each[far]] = relative
    return list(found.values())[:MAX_RELATIVES]
