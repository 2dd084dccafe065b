"""Users decide about a running service's album, over HTTP: it is so when they are answered, and stays so."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from schemas.decisions import DECISION_SETTLED_TYPE
from schemas.headers import header
from tests.e2e.conftest import album_ids
from tests.e2e.kafka_log import read_topic
from tests.e2e.service import Service
from tests.e2e.test_purge import purge, run


@pytest.fixture
async def filled(service: Service, pet: str) -> str:
    """A pet with a version and some clusters."""
    service.publish(pet, f"{pet}-1", album_ids()[:12])
    assert (await service.job(f"{pet}-1"))["status"] == "succeeded"
    return pet


async def decide(service: Service, pet: str, kind: str, **more: Any) -> tuple[int, Any]:
    """Status, and `data` or `error`. The version that is looked at is the last one unless given."""
    body = {"kind": kind, "who": "ann", "why": "it looks wrong", **more}
    if "expected_version" not in body:
        body["expected_version"] = (await service.clusters(pet))["version"]
    status, answer = await service._call("POST", f"/internal/pets/{pet}/decisions", body)
    if status >= 300:
        return status, answer["error"]
    service.has_version(pet, answer["data"]["version"])
    return status, answer["data"]


async def listed(service: Service, pet: str, query: str = "") -> list[Any]:
    status, answer = await service.get(f"/internal/pets/{pet}/decisions{query}")
    assert status == 200
    rows: list[Any] = answer["data"]
    return rows


async def test_a_name_holds_through_later_photos_and_so_does_who_is_not_here(service: Service, filled: str) -> None:
    pet = filled
    before = await service.clusters(pet)
    first, second = before["clusters"][:2]
    image_id = first["members"][-1]["image_id"]

    status, named = await decide(service, pet, "rename", arguments={"cluster": first["id"], "name": "Rex"})
    assert (status, named["state"], named["version"], named["cluster"]) == (
        *(201, "accepted", before["version"] + 1, first["id"]),
    )
    status, apart = await decide(
        service, pet, "not_here", arguments={"cluster": first["id"], "image_ids": [image_id]}, decision_id="apart"
    )
    assert (status, apart["images"]) == (201, 1)

    service.publish(pet, f"{pet}-2", album_ids()[12:24])
    await service.job(f"{pet}-2")
    after = await service.clusters(pet)
    (kept,) = [cluster for cluster in after["clusters"] if cluster["id"] == first["id"]]
    assert (kept["label"], image_id in {each["image_id"] for each in kept["members"]}) == ("Rex", False)
    assert image_id in after["unclustered"]
    _, why = await service.get(f"/internal/pets/{pet}/images/{image_id}/why")
    assert (why["data"]["rule"], why["data"]["decision"]) == (
        "decided",
        {
            "decision_id": "apart",
            "kind": "not_here",
            "who": "ann",
            "why": "it looks wrong",
            "version": apart["version"],
        },
    )

    status, refused = await decide(service, pet, "pin_hero", arguments={"cluster": first["id"], "image_id": image_id})
    assert (status, refused["refusal"]) == (409, "moved_on")
    status, early = await decide(
        service, pet, "rename", arguments={"cluster": second["id"], "name": "Tom"}, expected_version=999
    )
    assert (status, early["code"], early["version"]) == (409, "version_not_reached", after["version"])
    # The fold's own word: somebody has decided about the cluster since that version.
    status, late = await decide(
        service, pet, "rename", arguments={"cluster": first["id"], "name": "Tom"}, expected_version=before["version"]
    )
    assert (status, late["refusal"], late["version"]) == (409, "moved_on", after["version"])

    status, undo = await decide(service, pet, "undo", arguments={"decision_id": "apart"})
    assert (status, undo["images"]) == (201, 1)
    rows = await listed(service, pet)
    assert [(row["kind"], row["state"]) for row in rows] == [
        *(("undo", "accepted"), ("rename", "refused"), ("not_here", "undone"), ("rename", "accepted")),
    ]
    assert rows[2]["undone_by"] == undo["decision_id"]
    assert await listed(service, pet, f"?image_id={image_id}") == [rows[2]]
    _, lineage = await service.get(f"/internal/pets/{pet}/clusters/{first['id']}/lineage")
    (renamed,) = [turn for turn in lineage["data"]["turns"] if turn["what"] == "renamed"]
    assert (renamed["label"], renamed["decision"]["decision_id"]) == ("Rex", named["decision_id"])


async def test_one_id_is_one_decision_however_often_it_is_sent(service: Service, filled: str) -> None:
    pet = filled
    album = await service.clusters(pet)
    names = [cluster["id"] for cluster in album["clusters"][:2]]
    ask: dict[str, Any] = {"arguments": {"clusters": names}, "decision_id": "one", "expected_version": album["version"]}
    answers = await asyncio.gather(*(decide(service, pet, "merge", **ask) for _ in range(4)))
    assert {status for status, _ in answers} <= {200, 201}
    assert {row["version"] for _, row in answers} == {album["version"] + 1}
    status, row = await decide(service, pet, "merge", **ask)
    assert (status, row["cluster"]) == (200, names[0])
    sent = await read_topic(service.bootstrap_servers, service.topics.pet_versions.name)
    mine = [each for each in sent if each.key == pet.encode()]
    assert sum(header(each.headers, "ce_type") == DECISION_SETTLED_TYPE for each in mine) == 1

    status, gone = await decide(service, pet, "rename", arguments={"cluster": names[1], "name": "Tom"})
    assert (status, gone["refusal"], gone["successor"]) == (409, "moved_on", names[0])
    _, lineage = await service.get(f"/internal/pets/{pet}/clusters/{names[1]}/lineage")
    last = lineage["data"]["turns"][-1]
    assert (lineage["data"]["successor"], last["what"], last["decision"]["decision_id"]) == (names[0], "merged", "one")


async def test_a_rebuild_brings_them_back_from_the_log_and_a_purge_takes_them(service: Service, filled: str) -> None:
    pet = filled
    (cluster, *_) = (await service.clusters(pet))["clusters"]
    await decide(service, pet, "rename", arguments={"cluster": cluster["id"], "name": "Rex"}, decision_id="name")
    await decide(service, pet, "undo", arguments={"decision_id": "none"}, decision_id="refused")
    await decide(service, pet, "undo", arguments={"decision_id": "name"})
    before = await listed(service, pet)
    assert [row["state"] for row in before] == ["accepted", "refused", "undone"]
    connection = await asyncpg.connect(service.database_url)
    try:
        await connection.execute("DELETE FROM pet_decisions WHERE pet_id = $1", pet)
    finally:
        await connection.close()
    assert await listed(service, pet) == []
    _, lines = await run(service, "rebuild", "--pet", pet, "--swap")
    assert await listed(service, pet) == before, lines
    code, lines = await run(service, "verify", "--pet", pet, "--processes", "1")
    assert code == 0, lines

    receipt = await purge(service, pet)
    assert receipt["removed"]["postgres"]["pet_decisions"] == 3
    assert await listed(service, pet) == []
    for command in (("purge", "--check", pet), ("verify", "--pet", pet, "--processes", "1")):
        code, lines = await run(service, *command)
        assert code == 0, lines
    status, gone = await decide(
        service, pet, "rename", arguments={"cluster": cluster["id"], "name": "Rex"}, expected_version=1
    )
    assert (status, gone["code"]) == (404, "clusters_not_found")
