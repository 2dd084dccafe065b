"""The answer that a view builds at a version, made of rows in memory as read_answer_at.sql makes it of tables. Pure.

Used by `partition`: what Redis holds, and the snapshots in Postgres, must be this.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from datetime import datetime
from typing import Any, Final

import msgspec

from projections.answers import build_answer
from projections.bulk_rows import COLUMNS, Row
from projections.members import decode_placed_by
from schemas.answers import ClusterAnswer
from schemas.ids import UNCLUSTERED

MAX_UNCLUSTERED: Final = 1000
"""As the statement lists them."""


def answer_at(rows: dict[str, list[Row]], version: int, generation: int) -> ClusterAnswer:
    """The answer at `version`; `rows`: a pet's, by table, that one among them."""
    members: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for member in _holding(rows, "cluster_members", version):
        members[member["cluster_number"]].append(member)
    heroes: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for hero in sorted(_holding(rows, "cluster_heroes", version), key=lambda each: int(each["rank"])):
        heroes[hero["cluster_number"]].append(hero)
    (made,) = [row for row in _named(rows, "pet_clusters") if row["version"] == version]
    summaries = sorted(_holding(rows, "cluster_summaries", version), key=lambda each: int(each["cluster_number"]))
    clusters = [
        (
            each["cluster_number"],
            each["label"],
            each["member_count"],
            [_member(m) for m in _best(members[each["cluster_number"]], made["max_cluster_size"])],
            [_hero(h) for h in heroes[each["cluster_number"]]],
        )
        for each in summaries
    ]
    newest = heapq.nsmallest(
        MAX_UNCLUSTERED, members[UNCLUSTERED], key=lambda each: (-each["since_version"], each["image_id"])
    )
    built = made | {
        "generation": generation,
        "clusters": msgspec.json.encode(clusters),
        "metrics": _metrics(made["metrics"]),
        "unclustered": [member["image_id"] for member in newest],
    }
    assert isinstance(made["updated_at"], datetime)
    return build_answer(built)


def _member(row: dict[str, Any]) -> tuple[str, float, str | None]:
    return row["image_id"], row["score"], decode_placed_by(row["metadata"]).duplicate_of or None


def _hero(row: dict[str, Any]) -> tuple[str, int, float, msgspec.Raw | None]:
    return row["image_id"], row["rank"], row["score"], None if row["parts"] is None else msgspec.Raw(row["parts"])


def _best(members: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    return heapq.nsmallest(most, members, key=lambda each: (-each["score"], each["image_id"]))


def _holding(rows: dict[str, list[Row]], table: str, version: int) -> list[dict[str, Any]]:
    return [
        row
        for row in _named(rows, table)
        if row["since_version"] <= version and (row["until_version"] is None or row["until_version"] > version)
    ]


def _named(rows: dict[str, list[Row]], table: str) -> list[dict[str, Any]]:
    return [dict(zip(COLUMNS[table], row, strict=True)) for row in rows[table]]


def _metrics(text: str) -> bytes:
    """As jsonb gives it back: the keys of an object by length, then by bytes."""
    metrics = msgspec.json.decode(text)
    keys = sorted(metrics["coverage"], key=lambda key: (len(key.encode()), key.encode()))
    return msgspec.json.encode(metrics | {"coverage": {key: metrics["coverage"][key] for key in keys}})
