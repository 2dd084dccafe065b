"""The main job on a running service: photos in as auth-service sends them, clusters with heroes out of the views."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from app.local.ports import HOST
from tests.e2e.conftest import BURSTS, album_ids
from tests.e2e.kafka_log import read_topic
from tests.e2e.service import TOKEN, Service, image_ids_of


async def test_bursts_become_clusters_and_every_photo_is_accounted_for(service: Service, pet: str) -> None:
    ids = album_ids()
    for n in range(4):
        service.publish(pet, f"{pet}-{n}", ids[n * 12 : (n + 1) * 12], payload={"labels": ["Portraits"]})
    jobs = [await service.job(f"{pet}-{n}") for n in range(4)]
    assert [job["status"] for job in jobs] == ["succeeded"] * 4
    answer = await service.clusters(pet)
    assert image_ids_of(answer) == set(ids)
    groups = [{m["image_id"].partition("-")[0] for m in cluster["members"]} for cluster in answer["clusters"]]
    assert sorted(next(iter(g)) for g in groups if len(g) == 1) == sorted(name.partition(".")[0] for name in BURSTS)
    assert answer["version"] == 4
    for cluster in answer["clusters"]:
        assert cluster["hero_image_id"] in {m["image_id"] for m in cluster["members"]}
        assert cluster["label"] == "Portraits"
        scores = [m["score"] for m in cluster["members"]]
        assert scores == sorted(scores, reverse=True)


async def test_a_bad_image_fails_alone_with_its_reason(service: Service, pet: str) -> None:
    service.publish(pet, f"{pet}-j", ["astronaut-0", "broken", "nowhere"])
    job = await service.job(f"{pet}-j")
    assert (job["status"], job["placed"], job["failed"]) == ("succeeded", 1, 2)
    assert {f["image_id"]: f["kind"] for f in job["failed_images"]} == {
        "broken": "not_an_image",
        "nowhere": "not_found",
    }
    letters = [json.loads(r.value) for r in await read_topic(service.bootstrap_servers, service.topics.deadletter.name)]
    mine = {letter["image_id"]: letter for letter in letters if letter["pet_id"] == pet}
    assert mine["broken"]["subject"] == "image"
    assert mine["nowhere"]["reason"]


async def test_a_job_whose_images_all_fail_has_failed_and_is_dead_lettered(service: Service, pet: str) -> None:
    service.publish(pet, f"{pet}-j", ["broken"])
    job = await service.job(f"{pet}-j")
    assert job["status"] == "failed"
    assert "broken" in job["last_error"]
    letters = [json.loads(r.value) for r in await read_topic(service.bootstrap_servers, service.topics.deadletter.name)]
    assert {letter["subject"] for letter in letters if letter["pet_id"] == pet} == {"image", "job"}


async def test_the_same_job_five_times_has_one_effect(service: Service, pet: str) -> None:
    for _ in range(5):
        service.publish(pet, f"{pet}-j", ["coffee-0", "coffee-1"])
    await service.job(f"{pet}-j")
    service.publish(pet, f"{pet}-last", ["coffee-0"])  # behind the five in the same partition
    last = await service.job(f"{pet}-last")
    assert (last["known"], last["version"]) == (1, 1)
    assert (await service.clusters(pet))["version"] == 1


async def test_http_submit_takes_the_same_way(service: Service, pet: str) -> None:
    body = {"pet_id": pet, "job_id": f"{pet}-h", "payload": {"image_ids": ["rocket-0", "rocket-1", "chelsea-0"]}}
    async with (
        aiohttp.ClientSession(headers={"X-Internal-Token": TOKEN}) as session,
        session.post(f"http://{HOST}:{service.web_port}/internal/cluster-jobs", json=body) as response,
    ):
        assert (response.status, await response.text()) == (202, '{"status":"accepted"}')
        assert response.headers["Location"] == f"/internal/jobs/{pet}-h?pet_id={pet}"
    job = await service.job(f"{pet}-h")
    assert (job["status"], job["source"]) == ("succeeded", "http")
    answer = await service.clusters(pet)
    assert [c["member_count"] for c in answer["clusters"]] == [2]
    assert answer["unclustered"] == ["chelsea-0"]


async def test_a_caller_reads_its_own_write_straight_behind_its_acceptance(service: Service, pet: str) -> None:
    written = set[str]()
    for n, image_id in enumerate(album_ids()[:5], start=1):
        await service.submit(pet, f"{pet}-{n}", [image_id])
        written.add(image_id)
        path = f"/internal/pets/{pet}/clusters?wait_for_job={pet}-{n}&wait=10"
        status, answer = await service.get(path)
        while status == 409:  # the wait was over before the job: a machine under load
            status, answer = await service.get(path)
        assert (status, answer["version"], image_ids_of(answer)) == (200, n, written)


async def test_force_embeds_again_and_makes_the_next_version(service: Service, pet: str) -> None:
    service.publish(pet, f"{pet}-1", ["astronaut-0", "astronaut-1", "coffee-0", "coffee-1"])
    await service.job(f"{pet}-1")
    before = await service.clusters(pet)
    service.publish(pet, f"{pet}-2", ["astronaut-0"], force=True)
    job = await service.job(f"{pet}-2")
    after = await service.clusters(pet)
    assert (job["status"], job["version"], after["version"]) == ("succeeded", 2, 2)
    assert {c["id"]: c["member_count"] for c in after["clusters"]} == {
        c["id"]: c["member_count"] for c in before["clusters"]
    }


async def test_a_job_that_names_no_image_publishes_the_current_clusters_again(service: Service, pet: str) -> None:
    service.publish(pet, f"{pet}-1", ["astronaut-2", "astronaut-3"])
    await service.job(f"{pet}-1")
    service.add_entry({"payload": json.dumps({"pet_id": pet, "job_id": f"{pet}-bare"})})
    assert (await service.job(f"{pet}-bare"))["status"] == "succeeded"
    topic = service.topics.clusters_updated.name
    mine = [r.value for r in await read_topic(service.bootstrap_servers, topic) if r.key == pet.encode()]
    assert len(mine) == 2
    assert mine[0] == mine[1]


async def test_an_invalid_entry_ends_in_both_dead_letters_and_the_next_is_served(service: Service, pet: str) -> None:
    entry = service.add_entry({"payload": json.dumps({"pet_id": pet, "payload": {"image_ids": [7]}})})
    service.publish(pet, f"{pet}-ok", ["coffee-3"])
    assert (await service.job(f"{pet}-ok"))["status"] == "succeeded"
    dead: Any = service.redis.xrange(service.dead_stream)
    (mine,) = [fields for _, fields in dead if fields[b"source_id"].decode().endswith(entry)]
    assert b"image_ids[0]" in mine[b"error"]
    letters = [json.loads(r.value) for r in await read_topic(service.bootstrap_servers, service.topics.deadletter.name)]
    assert any(entry in letter["source_id"] for letter in letters)


def test_a_stopped_role_drains_and_exits_with_zero(service: Service) -> None:
    for role in ("fold", "embed"):
        assert service.stop(role) == 0, service.log(role)
        service.start(role)
