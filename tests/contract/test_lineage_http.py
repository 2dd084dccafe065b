"""Where a cluster comes from and what became of it, over HTTP; and why an image lies where a user has put it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from projections.postgres import apply_version
from schemas.versions import DecidedChange, GroupedCluster, GroupedHero
from tests.contract.test_history_http import ask, refused
from tests.contract.test_wire_http import api, bare, stores
from tests.contract.web_rig import Api
from tests.integration.projections.purge_samples import project
from tests.integration.projections.samples import START, decided_version, settled

__all__ = ["api", "bare", "stores"]

PET = "101"
CLUSTERS = f"/internal/pets/{PET}/clusters"


def group(number: int, count: int, label: str = "", **more: Any) -> GroupedCluster:
    return GroupedCluster(number, label or f"Cluster {number}", count, 0.8, (GroupedHero(f"i{number}", 0.5),), **more)


def held(image_id: str, number: int, decision: str = "", rule: str = "") -> DecidedChange:
    return DecidedChange(image_id, number, 0.9, rule or ("decided" if decision else "joined"), decision=decision)


@pytest.fixture
async def family(api: Api) -> Api:
    """1 is split from 0, 2 merged into 1, 1 into 0 by a user who takes that back; 3 is split from 1, and ends."""
    await project(
        api.pool,
        decided_version(PET, 1, (held("a", 0), held("b", 2)), (group(0, 3), group(2, 1, "Sofa"))),
        decided_version(PET, 2, (held("c", 1),), (group(0, 2), group(1, 1, split_from=0))),
        decided_version(PET, 3, (), (group(1, 2, "Rex"),)),
        settled(PET, "d-name", 3, arguments={"cluster": 1, "name": "Rex"}, cluster=1),
        decided_version(PET, 4, (held("d", 1),), (group(1, 3, "Rex"), group(2, 0, merged_into=1))),
        settled(PET, "d-refused", 4, accepted=False, code="conflict", reason="no"),
        decided_version(PET, 5, (held("c", 0, "d-merge"),), (group(1, 0, merged_into=0), group(0, 4))),
        settled(PET, "d-merge", 5, "merge", arguments={"clusters": [0, 1]}, images=1),
        decided_version(PET, 6, (held("c", 1, rule="decided"),), (group(0, 2), group(1, 2, "Rex"))),
        settled(PET, "d-undo", 6, "undo", arguments={"decision_id": "d-merge"}, undoes="d-merge", who="bob"),
        decided_version(PET, 7, (held("d", 3),), (group(3, 1, split_from=1), group(1, 1, "Rex"))),
        decided_version(PET, 8, (held("d", -1),), (group(3, 0),)),
    )
    return api


async def lineage(api: Api, number: int) -> Any:
    return (await ask(api, f"{CLUSTERS}/{PET}-cluster-{number}/lineage"))[0]


def turns(row: Any) -> list[tuple[Any, ...]]:
    return [
        (turn["version"], turn["what"], turn["label"], turn["cluster"], turn["decision"] and turn["decision"]["kind"])
        for turn in row["turns"]
    ]


def relatives(rows: Any) -> list[tuple[str, str, str, int]]:
    return [(each["cluster"][-1], each["how"], each["of"][-1], each["version"]) for each in rows]


async def test_a_cluster_begins_is_called_merged_and_taken_back(family: Api) -> None:
    row = await lineage(family, 1)
    assert turns(row) == [
        (2, "begun", "Cluster 1", "101-cluster-0", None),
        (3, "renamed", "Rex", None, "rename"),
        (5, "merged", None, "101-cluster-0", "merge"),
        (6, "resumed", "Rex", None, "undo"),
    ]
    assert row["turns"][1]["decision"] == {
        "decision_id": "d-name", "kind": "rename", "who": "ann", "why": "it is Rex", "version": 3,
    }  # fmt: skip
    assert (row["turns"][3]["decision"]["who"], row["turns"][0]["at"][:19]) == ("bob", START.isoformat()[:17] + "26")
    assert (row["cluster"], row["label"], row["successor"], row["known_from"]) == ("101-cluster-1", "Rex", None, 1)
    assert relatives(row["ancestors"]) == [("2", "merge", "1", 4), ("0", "split", "1", 2)]
    assert relatives(row["descendants"]) == [("0", "merge", "1", 5), ("3", "split", "1", 7)]


async def test_one_that_was_merged_names_its_successor_and_one_that_ended_its_end(family: Api) -> None:
    row = await lineage(family, 2)
    assert turns(row) == [
        (1, "begun", "Sofa", None, None),
        (4, "merged", None, "101-cluster-1", None),
    ]
    assert (row["label"], row["successor"], row["ancestors"]) == ("Sofa", "101-cluster-1", [])
    assert relatives(row["descendants"]) == [("1", "merge", "2", 4), ("0", "merge", "1", 5), ("3", "split", "1", 7)]

    ended = await lineage(family, 3)
    assert turns(ended) == [(7, "begun", "Cluster 3", "101-cluster-1", None), (8, "ended", None, None, None)]
    assert relatives(ended["ancestors"]) == [("1", "split", "3", 7), ("2", "merge", "1", 4), ("0", "split", "1", 2)]
    assert (ended["successor"], ended["descendants"]) == (None, [])


async def test_a_merge_behind_a_split_makes_no_ancestor(family: Api) -> None:
    await project(
        family.pool,
        decided_version(PET, 9, (held("e", 4),), (group(4, 1),)),
        decided_version(PET, 10, (), (group(0, 3), group(4, 0, merged_into=0))),
    )
    assert "4" not in {name for name, *_ in relatives((await lineage(family, 1))["ancestors"])}
    assert relatives((await lineage(family, 0))["ancestors"])[0] == ("4", "merge", "0", 10)


async def test_what_retention_removed_is_not_told_and_said_so(family: Api) -> None:
    await family.pool.execute("DELETE FROM pet_clusters WHERE version < 4")
    row = await lineage(family, 1)
    assert (row["known_from"], row["turns"][0]["at"]) == (4, None)


async def test_what_there_is_not_is_refused(family: Api) -> None:
    for name in ("101-cluster-9", "cluster-1", "unclustered"):
        assert await refused(family, f"{CLUSTERS}/{name}/lineage") == (404, "cluster_not_found", "")
    assert await refused(family, "/internal/pets/none/clusters/none-cluster-0/lineage") == (
        *(404, "clusters_not_found", ""),
    )
    assert (await refused(family, f"{CLUSTERS}/101-cluster-0/lineage?x=1"))[::2] == (422, "x")


async def test_why_names_the_decision_that_holds_an_image(family: Api) -> None:
    why = (await ask(family, f"/internal/pets/{PET}/images/c/why?version=5"))[0]
    assert (why["rule"], why["meaning"]) == ("decided", "A user's decision holds it there.")
    assert why["decision"] == {
        "decision_id": "d-merge", "kind": "merge", "who": "ann", "why": "it is Rex", "version": 5,
    }  # fmt: skip
    assert (await ask(family, f"/internal/pets/{PET}/images/a/why"))[0]["decision"] is None
    freed = (await ask(family, f"/internal/pets/{PET}/images/c/why"))[0]
    assert (freed["decision"]["decision_id"], freed["decision"]["who"]) == ("d-undo", "bob")
    assert freed["meaning"].startswith("No decision holds it any more")
    async with family.pool.acquire() as connection, connection.transaction():
        await apply_version(connection, decided_version(PET, 9, (held("c", 0, "d-next"),)))
    early = (await ask(family, f"/internal/pets/{PET}/images/c/why"))[0]["decision"]
    assert json.dumps(early) == json.dumps(
        {"decision_id": "d-next", "kind": None, "who": None, "why": None, "version": None}
    ), "what became of it comes behind the version"
