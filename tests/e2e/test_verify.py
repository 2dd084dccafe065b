"""`python -m app verify` beside a running service: equal while jobs arrive, and what was changed by hand is named."""

from __future__ import annotations

import asyncio
import fcntl
import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from redis.asyncio import Redis

from app.verify.run import Request, run
from app.verify.work import Job, verify_partition
from projections.cache import AnswerCache
from projections.postgres import Applied, apply_version
from projections.retention import Retention
from projections.shadow.runs import Mark
from projections.verify.frontier import Settled
from projections.verify.pets import PetCheck
from schemas.codec import decode_message
from schemas.errors import StopProcess
from schemas.versions import PetVersion
from tables.rows import row_key
from tests.e2e.conftest import album_ids
from tests.e2e.kafka_log import read_topic
from tests.e2e.service import REPOSITORY, Service
from tests.e2e.verify_rig import (
    command,
    events_of,
    everything,
    only_finding,
    send,
    settings_of,
    settle,
    task_of,
    verified,
)

JOBS: Final = 3
EXIT_EQUAL, EXIT_DIFFERS, EXIT_ERROR = 0, 1, 3


@pytest.fixture
async def database(service: Service) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(service.database_url)
    yield connection
    await connection.close()


def versions_of(sent: list[Any], pet: str) -> list[PetVersion]:
    """A pet's versions among the messages of all pets, purges and decisions among them."""
    changes = [decode_message(each.value) for each in sent]
    return [change for change in changes if isinstance(change, PetVersion) and change.pet_id == pet]


@pytest.fixture
async def filled(service: Service, tmp_path: Path, pet: str) -> str:
    """A pet with a version a job, all of them committed and projected."""
    ids = album_ids()
    for number in range(JOBS):
        service.publish(pet, f"{pet}-{number}", ids[4 * number : 4 * number + 4])
        assert (await service.job(f"{pet}-{number}"))["version"] == number + 1
    await service.clusters(pet)
    await settle(service, tmp_path, pet)
    return pet


async def test_equal_on_a_live_system_while_jobs_arrive(service: Service, tmp_path: Path) -> None:
    """The whole service, whatever other tests have done to it."""
    arriving = True

    async def arrive() -> int:
        number = 0
        while arriving:
            pet = f"live-{number % 5}"
            service.publish(pet, f"{pet}-{number}", album_ids()[number % 40 :][:2])
            await service.job(f"{pet}-{number}")
            await service.clusters(pet)
            number += 1
        return number

    arrivals = asyncio.create_task(arrive())
    file = tmp_path / "media_cluster.prom"
    try:
        code, lines, errors = await command(service, tmp_path, "--metrics-file", str(file))
    finally:
        arriving = False
    assert await arrivals > 5, "jobs arrived meanwhile"
    assert (code, errors) == (EXIT_EQUAL, ""), lines
    last = lines[-1]
    assert last["step"] == "verified"
    assert last["pets"] >= 1
    assert min(last["in_table"], last["in_postgres"], last["in_redis"]) >= 1
    assert {line["step"] for line in lines} <= {"verifying", "verified"}
    told = file.read_text()
    assert 'media_cluster_verify_differing_pets{place="postgres"} 0.0\n' in told
    assert f"media_cluster_verify_pets {float(last['pets'])}\n" in told
    assert "media_cluster_verify_finished_timestamp_seconds 1." in told
    assert [each.name for each in (tmp_path / "verify").iterdir()] == ["lock"], "the copies are gone"


async def test_a_changed_score_in_postgres_is_named_with_its_version_and_event(
    service: Service, tmp_path: Path, filled: str, database: Any
) -> None:
    assert (await verified(service, tmp_path, filled)).findings == []
    events = await events_of(service, filled)
    image, score = await database.fetchrow(
        "SELECT image_id, score FROM cluster_members WHERE pet_id = $1 AND since_version = 2 LIMIT 1", filled
    )
    change = "UPDATE cluster_members SET score = $3 WHERE pet_id = $1 AND image_id = $2 AND since_version = 2"
    await database.execute(change, filled, image, 0.25)
    code, lines, _ = await command(service, tmp_path, "--pet", filled)
    await database.execute(change, filled, image, score)
    assert code == EXIT_DIFFERS
    (line,) = [line for line in lines if line["step"] == "differs"]
    assert line == {
        "step": "differs",
        "pet_id": filled,
        "place": "postgres",
        "version": 2,
        "offset": events[1][0],
        "ce_id": events[1][1],
        "ce_type": "media.ImagesEmbedded.v1",
        "field": f"cluster_members[{image}].score",
        "expected": repr(score),
        "found": "0.25",
        "differences": 1,
    }
    assert lines[-1]["differing_postgres"] == 1


@pytest.mark.parametrize("version", [2, JOBS])
async def test_a_missing_version_row_is_named(
    service: Service, tmp_path: Path, filled: str, database: Any, version: int
) -> None:
    events = await events_of(service, filled)
    row = await database.fetchrow(
        "DELETE FROM pet_clusters WHERE pet_id = $1 AND version = $2 RETURNING *", filled, version
    )
    found = [each for each in (await verified(service, tmp_path, filled)).findings if each.place == "postgres"]
    await database.copy_records_to_table("pet_clusters", records=[tuple(row)], columns=list(row.keys()))
    (finding,) = found
    assert (finding.version, finding.offset, finding.ce_id) == (version, *events[version - 1])
    assert finding.field.startswith("pet_clusters[" if version < JOBS else ("pet_clusters[", "cluster_"))


async def test_a_version_that_was_lost_whole_is_named_although_nothing_else_tells_of_it(
    service: Service, tmp_path: Path, filled: str, database: Any
) -> None:
    events = await events_of(service, filled)
    sent = await read_topic(service.bootstrap_servers, service.topics.pet_versions.name)
    (last,) = [version for version in versions_of(sent, filled) if version.version == JOBS]
    async with database.transaction():
        for table in ("cluster_members", "cluster_heroes", "cluster_summaries"):
            await database.execute(f"DELETE FROM {table} WHERE pet_id = $1 AND since_version = $2", filled, JOBS)
            ends = "until_version = NULL" + (", merged_into = NULL" if table == "cluster_summaries" else "")
            await database.execute(f"UPDATE {table} SET {ends} WHERE pet_id = $1 AND until_version = $2", filled, JOBS)
        await database.execute("DELETE FROM pet_clusters WHERE pet_id = $1 AND version = $2", filled, JOBS)
    finding = await only_finding(service, tmp_path, filled)
    async with database.transaction():
        assert await apply_version(database, last) == Applied(JOBS)
    assert (finding.place, finding.version, finding.ce_id) == ("postgres", JOBS, events[-1][1])
    assert (finding.field, finding.found) == (f"pet_clusters[{JOBS}]", "nothing")
    assert (await verified(service, tmp_path, filled)).findings == []


async def test_who_is_ahead_of_what_was_read_of_the_log_does_not_differ(
    service: Service, tmp_path: Path, filled: str, database: Any
) -> None:
    sent = await read_topic(service.bootstrap_servers, service.topics.pet_versions.name)
    versions = versions_of(sent, filled)
    task = task_of(service, tmp_path, filled)
    log, topic = (TopicPartition(name, task.partition) for name in (task.log, task.versions))
    async with Redis.from_url(service.redis_url) as redis:
        cache = AnswerCache(redis, namespace=service.namespace, ttl_seconds=600)
        check = PetCheck(database, cache, Settled(log, topic, task.group))
        assert await check.compare(filled, versions[:2], end=versions[2].offset) == {}
        assert (check.moved, check.newer) == ({filled}, {filled: (JOBS, versions[2].offset)})
        found = await check.compare(filled, versions[:2], end=versions[2].offset + 1)
        assert {place: first.version for place, (first, _) in found.items()} == {"postgres": JOBS}
        await check.read_cached([filled])
        found = await check.compare(filled, versions[:2], end=versions[2].offset)
        assert {place: first.found for place, (first, _) in found.items()} == {"redis": str(JOBS)}
        assert await check.compare(filled, versions, end=versions[2].offset + 1) == {}


async def test_a_changed_byte_in_the_changelog_is_named(service: Service, tmp_path: Path, filled: str) -> None:
    events = await events_of(service, filled)
    changelog = task_of(service, tmp_path, filled).changelog
    key = row_key(filled, "i", events[1][0])
    (row,) = [each.value for each in await read_topic(service.bootstrap_servers, changelog) if each.key == key]
    changed = bytearray(row)
    changed[len(row) // 2 + 500] ^= 1  # in a vector: the middle lies between two images
    await send(service, changelog, filled, key, bytes(changed))
    finding = await only_finding(service, tmp_path, filled)
    await send(service, changelog, filled, key, row)
    assert (finding.place, finding.version) == ("table", 2)
    assert (finding.offset, finding.ce_id, finding.ce_type) == (*events[1], "media.ImagesEmbedded.v1")
    assert finding.field.startswith(f"{key.decode()} images[")
    assert (await verified(service, tmp_path, filled)).findings == []


async def test_a_wrong_cached_answer_is_named(service: Service, tmp_path: Path, filled: str) -> None:
    key = f"{service.namespace}:state:{filled}"
    events = await events_of(service, filled)
    right: Any = service.redis.get(key)
    count = str(json.loads(right)["image_count"])
    service.redis.set(key, right.replace(f'"image_count":{count}'.encode(), b'"image_count":3'))
    finding = await only_finding(service, tmp_path, filled)
    service.redis.set(key, right)
    assert (finding.place, finding.version, finding.ce_id) == ("redis", JOBS, events[-1][1])
    assert (finding.field, finding.expected, finding.found) == ("image_count", count, "3")


async def test_a_cached_answer_that_stays_behind_is_told_and_one_that_follows_is_not(
    service: Service, tmp_path: Path, filled: str
) -> None:
    key = f"{service.namespace}:state:{filled}"
    status, old = await service.get(f"/internal/pets/{filled}/clusters/2")
    assert status == 200
    now: Any = service.redis.get(key)
    stale = json.dumps(old["data"], separators=(",", ":"), ensure_ascii=False).encode()
    service.redis.set(key, stale)
    finding = await only_finding(service, tmp_path, filled)
    assert (finding.place, finding.field, finding.version) == ("redis", "version", JOBS)
    assert (finding.expected, finding.found) == (f"{JOBS} or later", "2")
    service.redis.set(key, stale)
    totals = []

    def follow(mark: Mark) -> None:
        """It follows when the first look has read everything."""
        totals.append(mark.end_offset)
        if mark.next_offset >= mark.end_offset:
            service.redis.set(key, now)

    job = Job(settings_of(service, tmp_path), task_of(service, tmp_path, filled))
    done = await verify_partition(job, follow)
    assert (done.findings, done.unsettled) == ([], [])
    assert totals[-1] > totals[0] + 1, "it was looked at again"
    service.redis.delete(key)
    done = await verified(service, tmp_path, filled)
    assert (done.findings, done.in_redis, done.in_postgres) == ([], 0, 1)


async def test_a_trimmed_history_is_no_difference(service: Service, tmp_path: Path, filled: str, database: Any) -> None:
    await database.execute(
        "UPDATE pet_clusters SET created_at = now() - interval '200 days' WHERE pet_id = $1 AND version < $2",
        filled,
        JOBS,
    )
    async with asyncpg.create_pool(service.database_url, min_size=1, max_size=1) as pool:
        await Retention(pool=pool, days=150, pause_s=0).trim()
    assert await database.fetchval("SELECT min(version) FROM pet_clusters WHERE pet_id = $1", filled) > 1
    assert (await verified(service, tmp_path, filled)).findings == []


@pytest.fixture
async def reader(service: Service, database: Any) -> AsyncIterator[str]:
    """The database's address for a user that may read and do nothing else."""
    name = f"{service.name}_reader"
    await database.execute(f"CREATE ROLE {name} LOGIN")
    await database.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
    address = urlsplit(service.database_url)
    yield address._replace(netloc=f"{name}@{address.netloc.rpartition('@')[2]}").geturl()
    await database.execute(f"DROP OWNED BY {name}")
    await database.execute(f"DROP ROLE {name}")


async def test_it_writes_nothing_anywhere_killed_or_not(
    service: Service, tmp_path: Path, filled: str, database: Any, reader: str
) -> None:
    before = await everything(service, database)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "verify", "--json", "--processes", "1"),
        env=service.env("web") | {"DATA_DIR": str(tmp_path)},
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    line = json.loads(await process.stdout.readline())
    assert line["step"] == "verifying", "it is in the middle"
    process.kill()
    await process.wait()
    assert await everything(service, database) == before
    code, lines, errors = await command(service, tmp_path, DATABASE_URL=reader)
    assert (code, errors) == (EXIT_EQUAL, ""), lines
    assert await everything(service, database) == before
    assert [each.name for each in (tmp_path / "verify").iterdir()] == ["lock"], "what the killed run has left is gone"


async def test_what_cannot_be_done_is_told_with_another_exit_code(service: Service, tmp_path: Path) -> None:
    nowhere = f"{service.database_url}x"
    done, lines, errors = await command(service, tmp_path, "--pet", "a", DATABASE_URL=nowhere)
    assert (done, lines) == (EXIT_ERROR, [])
    assert errors.startswith("stopped: Postgres")
    assert errors.count("\n") == 1


async def test_a_pet_that_nobody_knows_is_no_equal_one(service: Service, tmp_path: Path) -> None:
    done, _, errors = await command(service, tmp_path, "--pet", "nobody-knows-it")
    assert done == EXIT_ERROR
    assert "--pet nobody-knows-it: neither the log nor Postgres nor Redis knows this pet" in errors


async def test_a_second_one_beside_it_is_refused(service: Service, tmp_path: Path) -> None:
    settings = settings_of(service, tmp_path)
    (tmp_path / "verify").mkdir()
    with (tmp_path / "verify" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StopProcess, match="another verification is under way"):
            await run(settings, Request(pet_id="a"), io.StringIO())


async def test_topics_that_are_not_there_are_told_and_not_made(service: Service, tmp_path: Path) -> None:
    nobodys = settings_of(service, tmp_path).model_copy(update={"kafka_topic_prefix": f"{service.topics.prefix}no."})
    with pytest.raises(StopProcess, match=r"media\.pet-log is not there"):
        await run(nobodys, Request(), io.StringIO())
    admin = AIOKafkaAdminClient(bootstrap_servers=service.bootstrap_servers)
    await admin.start()
    try:
        assert [name for name in await admin.list_topics() if name.startswith(nobodys.kafka_topic_prefix)] == []
    finally:
        await admin.close()
