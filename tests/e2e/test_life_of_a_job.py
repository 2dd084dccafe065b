"""Mirrors docs/life-of-a-job.md: follows one job id through every place that holds something of it."""

from __future__ import annotations

import json

import asyncpg

from schemas.codec import decode_fact, decode_version
from schemas.facts import ImagesEmbedded
from schemas.headers import header
from schemas.ids import job_key, message_id, version_key
from tests.e2e.kafka_log import read_log, read_topic
from tests.e2e.service import Service


async def test_one_job_leaves_its_traces_in_order(service: Service, pet: str) -> None:
    job_id = f"{pet}-job"
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    entry = service.publish(pet, job_id, ["coffee-4", "coffee-5", "rocket-4"], metadata={"traceparent": trace})
    await service.job(job_id)
    topics, servers = service.topics, service.bootstrap_servers

    # 1 The bridge: one command, keyed by the pet; its id says what caused it.
    (command,) = [r for r in await read_topic(servers, topics.jobs.name) if r.key == pet.encode()]
    body = json.loads(command.value)
    assert body["image_ids"] == ["coffee-4", "coffee-5", "rocket-4"]
    assert body["source"] == f"redis:{service.stream}/{entry}"
    assert header(command.headers, "ce_id") == message_id("job", pet, job_id, 1, 1)

    # 2 Embed: one fact, with a vector for each image; the log itself tells of none of them.
    (sealed,) = [r for r in await read_topic(servers, topics.pet_log.name) if r.key == pet.encode()]
    assert b"coffee-4" not in sealed.value
    assert job_id.encode() in sealed.value
    (logged,) = [r for r in await read_log(servers, topics) if r.key == pet.encode()]
    envelope, fact = decode_fact(logged.value)
    assert isinstance(fact, ImagesEmbedded)
    assert [len(image.vector) for image in fact.images] == [2560] * 3
    assert (fact.model, fact.job.job_id) == ("efficientnet-lite0@1", job_id)
    assert all(image.quality.score > 0 and image.width > 200 and len(image.sha256) == 32 for image in fact.images)

    # 3 The fold: a version, its public snapshot, the job's end.
    (sent,) = [r for r in await read_topic(servers, topics.pet_versions.name) if r.key == pet.encode()]
    version = decode_version(sent.value)
    assert (version.version, version.offset, version.time) == (1, logged.offset, envelope.time)
    (updated,) = [r for r in await read_topic(servers, topics.clusters_updated.name) if r.key == pet.encode()]
    assert json.loads(updated.value)["cluster_count"] == 1
    states = [r for r in await read_topic(servers, topics.jobs_status.name) if r.key == pet.encode()]
    assert [json.loads(r.value)["status"] for r in states] == ["processing", "succeeded"]

    # 4 The projector: rows with their position, the cached answer, and the view.
    connection = await asyncpg.connect(service.database_url)
    try:
        row = await connection.fetchrow("SELECT * FROM pet_clusters WHERE pet_id = $1", pet)
        assert (row["id"], row["log_offset"]) == (version_key(pet, 1), logged.offset)
        members = await connection.fetch("SELECT * FROM cluster_members WHERE pet_id = $1", pet)
        assert {m["image_id"]: m["cluster_number"] for m in members} == {"coffee-4": 0, "coffee-5": 0, "rocket-4": -1}
        job = await connection.fetchrow("SELECT * FROM cluster_jobs WHERE id = $1", job_key(pet, job_id))
        assert (job["status"], job["version"]) == ("succeeded", 1)
    finally:
        await connection.close()
    answer = await service.clusters(pet)
    cached = service.redis.get(f"{service.namespace}:state:{pet}")
    assert json.loads(cached or b"") == answer
    assert answer["updated_at"] == envelope.time

    # 5 The trace runs through all of it, and the entry is acknowledged.
    for record in (command, logged, sent, updated, *states):
        assert header(record.headers, "traceparent") == trace, record.topic
    assert service.redis.xpending(service.stream, "media-clustering-workers")["pending"] == 0
