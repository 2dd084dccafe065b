"""The past of a pet over HTTP: what is asked, what comes back, and what is refused by name."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from schemas.versions import (
    ClusterChange,
    ComponentMove,
    GroupedChange,
    GroupedCluster,
    GroupedHero,
    GroupedVersion,
    Hero,
    MemberChange,
)
from tests.contract.test_wire_http import ANSWER, PET, VERSION, api, bare, record_jobs, stores
from tests.contract.web_rig import Api

__all__ = ["api", "bare", "stores"]

SECOND = msgspec.structs.replace(
    VERSION,
    version=2,
    time="2026-11-21T07:50:00.000001+00:00",
    offset=9,
    job_id="job_2",
    members=(MemberChange("c", 0, 0.5, "joined", runner_up=3, runner_up_score=0.25),),
    clusters=(ClusterChange(0, "Portraits", 3, 0.8, (Hero("c", 0.75), Hero("b", 0.5))),),
    unclustered_count=0,
)
IMMUTABLE = "private, max-age=31536000, immutable"


@pytest.fixture
async def two(api: Api) -> Api:
    """The API and a pet with two versions."""
    await api.project(VERSION)
    await api.project(SECOND)
    return api


async def ask(api: Api, path: str) -> tuple[Any, Any]:
    """`data` and `meta` of an answer in the envelope."""
    reply = await api.call("GET", path)
    assert reply.status == 200, reply.body
    document = json.loads(reply.body)
    assert list(document) == ["api_version", "data", "meta", "error"]
    assert (document["api_version"], document["error"]) == ("1", None)
    return document["data"], document["meta"]


async def refused(api: Api, path: str) -> tuple[int, str, str]:
    """Status, code and field of a refusal."""
    reply = await api.call("GET", path)
    document = json.loads(reply.body)
    assert (list(document), document["data"]) == (["api_version", "data", "meta", "error"], None)
    return reply.status, document["error"]["code"], document["error"].get("field", "")


# ---- at a version, as of a time


async def test_a_version_is_immutable_and_not_sent_again(two: Api) -> None:
    generation = await two.pool.fetchval("SELECT generation FROM projection_generations")
    body = '{"api_version":"1","data":' + ANSWER.replace("%d", str(generation)) + ',"meta":{},"error":null}'
    reply = await two.call("GET", f"{PET}/clusters/1")
    assert (reply.status, reply.body) == (200, body.encode())
    assert (reply.headers["ETag"], reply.headers["Cache-Control"]) == ('"v1"', IMMUTABLE)
    again = await two.call("GET", f"{PET}/clusters/1", headers={"If-None-Match": '"v1"'})
    assert (again.status, again.body) == (304, b"")
    assert (again.headers["ETag"], again.headers["Cache-Control"]) == ('"v1"', IMMUTABLE)
    other = await two.call("GET", f"{PET}/clusters/2", headers={"If-None-Match": '"v1"'})
    assert (other.status, other.headers["ETag"]) == (200, '"v2"')
    latest = await two.call("GET", f"{PET}/clusters/latest")
    assert (json.loads(latest.body)["data"], "Cache-Control" in latest.headers) == (
        json.loads(other.body)["data"], False,
    )  # fmt: skip


async def test_as_of_a_time_is_the_answer_that_held(two: Api) -> None:
    for moment, held in (
        ("2026-11-21T07:49:24.624049Z", 1),
        ("2026-11-21T07:50:00.000000Z", 1),
        ("2026-11-21T07:50:00.000001Z", 2),
        ("2026-11-21T08:50:00.000001%2B01:00", 2),
        ("2999-01-01T00:00:00Z", 2),
    ):
        data, meta = await ask(two, f"{PET}/clusters/as-of?time={moment}")
        assert data["version"] == held
        assert meta["as_of"].endswith("+00:00")
    reply = await two.call("GET", f"{PET}/clusters/as-of?time={moment}", headers={"If-None-Match": '"v2"'})
    assert (reply.status, reply.headers["ETag"], "Cache-Control" in reply.headers) == (304, '"v2"', False)
    early = await refused(two, f"{PET}/clusters/as-of?time=2026-11-21T07:49:24.624048Z")
    assert early == (404, "version_not_found", "")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"{PET}/clusters/3", 404, "version_not_found"),
        (f"{PET}/clusters/9223372036854775807", 404, "version_not_found"),
        ("/internal/pets/none/clusters/1", 404, "clusters_not_found"),
        ("/internal/pets/none/clusters/as-of?time=2026-11-21T07:49:24Z", 404, "clusters_not_found"),
        ("/internal/pets/none/versions", 404, "clusters_not_found"),
        ("/internal/pets/none/diff?from=1&to=1", 404, "clusters_not_found"),
        ("/internal/pets/none/clusters/none-cluster-0/members", 404, "clusters_not_found"),
        (f"{PET}/diff?from=1&to=3", 404, "version_not_found"),
        (f"{PET}/clusters/101-cluster-0/members?version=3", 404, "version_not_found"),
        (f"{PET}/clusters/101-cluster-1/members", 404, "cluster_not_found"),
        (f"{PET}/clusters/101-cluster-00/members", 404, "cluster_not_found"),
        (f"{PET}/clusters/101-cluster-9999999999/members", 404, "cluster_not_found"),
        (f"{PET}/clusters/102-cluster-0/members", 404, "cluster_not_found"),
        (f"{PET}/clusters/0/members", 404, "cluster_not_found"),
        (f"{PET}/images/none", 404, "image_not_found"),
    ],
)
async def test_what_is_not_there_says_what_it_is(two: Api, path: str, status: int, code: str) -> None:
    assert await refused(two, path) == (status, code, "")


async def test_a_version_that_retention_removed_is_gone(two: Api) -> None:
    await two.pool.execute("DELETE FROM pet_clusters WHERE pet_id = '101' AND version = 1")
    for path in ("clusters/1", "diff?from=1&to=2", "clusters/101-cluster-0/members?version=1",
                 "clusters/as-of?time=2026-11-21T07:49:30Z"):  # fmt: skip
        assert await refused(two, f"{PET}/{path}") == (410, "version_removed", "")
    assert [row["version"] for row in (await ask(two, f"{PET}/versions"))[0]] == [2]


# ---- what is refused


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"{PET}/clusters/0", "version"),
        (f"{PET}/clusters/-1", "version"),
        (f"{PET}/clusters/01", "version"),
        (f"{PET}/clusters/1.0", "version"),
        (f"{PET}/clusters/x", "version"),
        (f"{PET}/clusters/%D9%A1", "version"),
        (f"{PET}/clusters/9223372036854775808", "version"),
        (f"{PET}/clusters/1?version=1", "version"),
        (f"{PET}/clusters/as-of", "time"),
        (f"{PET}/clusters/as-of?time=", "time"),
        (f"{PET}/clusters/as-of?time=2026-11-21", "time"),
        (f"{PET}/clusters/as-of?time=2026-11-21T07:49:24", "time"),
        (f"{PET}/clusters/as-of?time=2026-11-21T07:49:24+00:00", "time"),
        (f"{PET}/clusters/as-of?time=0001-01-01T00:00:00%2B14:00", "time"),
        (f"{PET}/clusters/as-of?time=2026-11-21T07:49:24Z&time=2026-11-21T07:49:24Z", "time"),
        (f"{PET}/versions?limit=0", "limit"),
        (f"{PET}/versions?limit=201", "limit"),
        (f"{PET}/versions?cursor=junk", "cursor"),
        (f"{PET}/versions?page=2", "page"),
        (f"{PET}/diff?to=2", "from"),
        (f"{PET}/diff?from=1", "to"),
        (f"{PET}/diff?from=2&to=1", "from"),
        (f"{PET}/diff?from=1&to=z", "to"),
        (f"{PET}/diff?from=1&to=2&since=1", "since"),
        (f"{PET}/clusters/unclustered/members?version=0", "version"),
        (f"{PET}/clusters/unclustered/members?cursor=%00", "cursor"),
        (f"{PET}/images/a%20b", "image_id"),
        (f"{PET}/images/a?limit=x", "limit"),
        ("/internal/pets/a%20b/clusters/1", "pet_id"),
        ("/internal/pets/a%00b/versions", "pet_id"),
        ("/internal/jobs", "state"),
        ("/internal/jobs?state=dead", "state"),
        ("/internal/jobs?state=failed&pet_id=101", "pet_id"),
        ("/internal/jobs?state=failed&cursor=Lw", "cursor"),
    ],
)
async def test_a_wrong_parameter_is_refused_by_name(two: Api, path: str, field: str) -> None:
    assert await refused(two, path) == (422, "invalid_parameter", field)


@pytest.mark.parametrize(
    "path",
    ["clusters/1", "clusters/as-of?time=2026-11-21T07:49:24Z", "versions", "diff?from=1&to=1",
     "clusters/101-cluster-0/members", "images/a", "../../jobs?state=failed"],
)  # fmt: skip
async def test_without_postgres_the_past_is_unavailable(bare: Api, path: str) -> None:
    assert await refused(bare, f"{PET}/{path}") == (503, "store_unavailable", "")
    assert (await bare.call("GET", f"{PET}/{path}", token="wrong")).status == 401


# ---- versions, differences, members, images


async def test_versions_tell_counts_time_and_cause(two: Api) -> None:
    data, meta = await ask(two, f"{PET}/versions?limit=1")
    assert data == [
        {
            "version": 2, "updated_at": "2026-11-21T07:50:00.000001+00:00", "cluster_count": 1, "image_count": 3,
            "unclustered_count": 0, "job_id": "job_2", "model": "m@1", "policy_id": "default-1", "log_partition": 0,
            "log_offset": 9,
        }
    ]  # fmt: skip
    rest, end = await ask(two, f"{PET}/versions?limit=1&cursor={meta['next_cursor']}")
    assert ([row["version"] for row in rest], end) == ([1], {"next_cursor": None})


async def test_a_difference_tells_clusters_and_images_and_is_immutable(two: Api) -> None:
    reply = await two.call("GET", f"{PET}/diff?from=1&to=2")
    assert reply.headers["Cache-Control"] == IMMUTABLE
    data, meta = await ask(two, f"{PET}/diff?from=1&to=2")
    assert (list(data), meta) == (["pet_id", "from", "to", "clusters", "images"], {"next_cursor": None})
    assert (data["from"]["version"], data["to"]["version"]) == (1, 2)
    assert data["clusters"] == [
        {
            "cluster": "101-cluster-0",
            "change": "changed",
            "before": {
                "label": "Portraits", "member_count": 2, "tightness": 0.9,
                "heroes": [{"image_id": "b", "rank": 1, "score": 0.5}, {"image_id": "a", "rank": 2, "score": 0.25}],
            },
            "after": {
                "label": "Portraits", "member_count": 3, "tightness": 0.8,
                "heroes": [{"image_id": "c", "rank": 1, "score": 0.75}, {"image_id": "b", "rank": 2, "score": 0.5}],
            },
            "hero_changed": True,
            "merged_into": None,
            "split_from": [],
        }
    ]  # fmt: skip
    assert data["images"] == [
        {
            "image_id": "c", "change": "moved", "from_cluster": None, "to_cluster": "101-cluster-0", "score": 0.5,
            "rule": "joined", "since_version": 2,
        }
    ]  # fmt: skip
    first, meta = await ask(two, f"{PET}/diff?from=1&to=2&limit=1")
    rest, end = await ask(two, f"{PET}/diff?from=1&to=2&limit=1&cursor={meta['next_cursor']}")
    assert (first["images"], rest["clusters"], rest["images"]) == ([], [], data["images"])
    assert (first["clusters"], end) == (data["clusters"], {"next_cursor": None})


async def test_members_are_paged_at_one_version(two: Api) -> None:
    path = f"{PET}/clusters/101-cluster-0/members"
    data, meta = await ask(two, f"{path}?limit=2")
    assert [each["image_id"] for each in data] == ["b", "a"]
    assert (meta["version"], meta["member_count"]) == (2, 3)
    data, end = await ask(two, f"{path}?limit=2&cursor={meta['next_cursor']}")
    assert data == [
        {
            "image_id": "c", "score": 0.5, "rule": "joined", "since_version": 2, "runner_up": "101-cluster-3",
            "runner_up_score": 0.25, "quality": 0.0, "width": 0, "height": 0, "taken_at": "",
        }
    ]  # fmt: skip
    assert end == {"version": 2, "member_count": 3, "next_cursor": None}
    then, _ = await ask(two, f"{path}?version=1")
    assert [each["image_id"] for each in then] == ["b", "a"]
    loose, meta = await ask(two, f"{PET}/clusters/unclustered/members?version=1")
    assert ([each["image_id"] for each in loose], meta["member_count"]) == (["c"], 1)
    assert await ask(two, f"{PET}/clusters/unclustered/members") == (
        [], {"version": 2, "member_count": 0, "next_cursor": None},
    )  # fmt: skip


async def test_an_image_tells_where_it_lay(two: Api) -> None:
    data, meta = await ask(two, f"{PET}/images/c")
    assert (data[0], meta) == (
        {
            "cluster": "101-cluster-0", "since_version": 2, "until_version": None,
            "since": "2026-11-21T07:50:00.000001+00:00", "score": 0.5, "rule": "joined",
            "runner_up": "101-cluster-3", "runner_up_score": 0.25,
        },
        {"next_cursor": None},
    )  # fmt: skip
    assert [(row["cluster"], row["since_version"], row["until_version"]) for row in data[1:]] == [(None, 1, 2)]


# ---- jobs by state


async def test_jobs_are_listed_by_state_over_all_pets(api: Api) -> None:
    jobs = [("101", "a"), ("102", "b"), ("101", "c"), ("103", "d")]
    await record_jobs(api, jobs)
    await api.pool.execute("UPDATE cluster_jobs SET status = 'failed' WHERE job_id <> 'b'")
    data, meta = await ask(api, "/internal/jobs?state=failed&limit=2")
    assert [(row["pet_id"], row["job_id"], row["status"]) for row in data] == [
        ("103", "d", "failed"), ("101", "c", "failed"),
    ]  # fmt: skip
    assert "cursor" not in data[0]
    rest, end = await ask(api, f"/internal/jobs?state=failed&limit=2&cursor={meta['next_cursor']}")
    assert ([row["job_id"] for row in rest], end) == (["a"], {"next_cursor": None})
    assert [row["job_id"] for row in (await ask(api, "/internal/jobs?state=queued"))[0]] == ["b"]
    assert await ask(api, "/internal/jobs?state=succeeded") == ([], {"next_cursor": None})


# ---- lineage


async def test_a_merged_cluster_leads_to_its_successor(two: Api) -> None:
    merged = msgspec.structs.replace(
        SECOND, version=3, offset=11, members=(),
        clusters=(ClusterChange(0, "", 0, 0.0, (), 4), ClusterChange(4, "Portraits", 3, 0.8, (Hero("b", 0.5),))),
    )  # fmt: skip
    await two.project(merged)
    reply = await two.call("GET", f"{PET}/clusters/{VERSION.pet_id}-cluster-0/members?limit=2")
    heir = f"{VERSION.pet_id}-cluster-4"
    assert (reply.status, json.loads(reply.body)["data"]) == (308, {"successor": heir})
    assert reply.headers["Location"] == f"{PET}/clusters/{heir}/members?limit=2"
    members, meta = await ask(two, reply.headers["Location"])
    assert (len(members), meta["version"]) == (2, 3)
    before = await two.call("GET", f"{PET}/clusters/{VERSION.pet_id}-cluster-0/members?version=2")
    assert before.status == 200, "at an earlier version it is there"


# ---- why


async def test_why_tells_what_was_recorded(two: Api) -> None:
    why, _ = await ask(two, f"{PET}/images/c/why")
    assert (why["cluster"], why["rule"], why["score"]) == (f"{VERSION.pet_id}-cluster-0", "joined", 0.5)
    assert why["runner_up"] == {"cluster": f"{VERSION.pet_id}-cluster-3", "score": 0.25}
    assert (why["membership"], why["component"]) == (None, None)
    assert why["since"] == {
        "version": 2, "at": SECOND.time, "job_id": "job_2", "model": "m@1", "policy_id": "default-1",
        "log_partition": 0, "log_offset": 9,
    }  # fmt: skip
    assert why["placed"]["version"] <= 2
    assert why["meaning"]


async def test_near_duplicates_are_told_by_why_and_in_the_answer(two: Api) -> None:
    third = GroupedVersion(
        **{
            **msgspec.structs.asdict(SECOND), "format": 3, "version": 3, "offset": 11,
            "members": tuple(
                GroupedChange(name, 0, score, "joined", component=7, duplicate_of=of)
                for name, score, of in (("d", 0.75, ""), ("e", 0.7, "d"), ("f", 0.65, "d"), ("g", 0.6, ""))
            ),
            "clusters": (GroupedCluster(0, "Portraits", 7, 0.8, (GroupedHero("c", 0.75),)),),
        }
    )  # fmt: skip
    await two.project(third)
    for name, others in (("d", ["e", "f"]), ("f", ["d", "e"]), ("g", [])):
        why, _ = await ask(two, f"{PET}/images/{name}/why")
        assert why["near_duplicates"] == others
    answer, _ = await ask(two, f"{PET}/clusters/3")
    assert answer["clusters"][0]["near_duplicates"] == [["d", "e", "f"]]
    before, _ = await ask(two, f"{PET}/clusters/2")
    assert "near_duplicates" not in before["clusters"][0]


async def test_why_tells_of_a_group_moved_by_its_component(two: Api) -> None:
    third = GroupedVersion(
        **{
            **msgspec.structs.asdict(SECOND), "format": 3, "version": 3, "offset": 11, "job_id": "job_3",
            "members": (GroupedChange("d", 0, 0.75, "joined", component=7, membership=0.875),),
            "clusters": (GroupedCluster(0, "Portraits", 4, 0.8, (GroupedHero("c", 0.75),)),),
        }
    )  # fmt: skip
    fourth = msgspec.structs.replace(
        third, version=4, offset=12, job_id="job_4", members=(), moves=(ComponentMove(7, 0, 5),),
        clusters=(GroupedCluster(5, "Cluster 5", 1, 1.0, (GroupedHero("d", 0.5),), split_from=0),),
    )  # fmt: skip
    await two.project(third)
    await two.project(fourth)
    why, _ = await ask(two, f"{PET}/images/d/why")
    assert (why["cluster"], why["rule"], why["membership"], why["component"]) == (
        f"{VERSION.pet_id}-cluster-5", "regrouped", 0.875, 7,
    )  # fmt: skip
    assert (why["since"]["job_id"], why["placed"]["job_id"]) == ("job_4", "job_3")
    before, _ = await ask(two, f"{PET}/images/d/why?version=3")
    assert (before["cluster"], before["rule"]) == (f"{VERSION.pet_id}-cluster-0", "joined")
    other, _ = await ask(two, f"{PET}/images/c/why")
    assert other["cluster"] == f"{VERSION.pet_id}-cluster-0", "what other components took stays"


@pytest.mark.parametrize(
    ("rest", "status", "code"),
    [("nobody/why", 404, "image_not_found"), ("d/why?version=1", 404, "image_not_found"),
     ("c/why?version=9", 404, "version_not_found"), ("c/why?version=x", 422, "invalid_parameter")],
)  # fmt: skip
async def test_why_of_what_is_not_there(two: Api, rest: str, status: int, code: str) -> None:
    assert (await refused(two, f"{PET}/images/{rest}"))[:2] == (status, code)
