"""The restore drill: Postgres from a dump, Postgres from nothing, Kafka from an export that is older than Postgres.

Each disaster is a real one: the data folder or the broker is gone. docs/operations/backup.md has the same commands.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from redis.asyncio import Redis

from app.local.kafka import SHORT_LIVED, KafkaServer
from app.local.postgres import PostgresServer, binaries
from app.local.redis import RedisServer
from app.progress import Display
from app.rebuild.place import Place
from app.rebuild.rebuild import Rebuild
from projections.cache import AnswerCache
from projections.offsets import LogOffsets
from tests.e2e.audit import audit
from tests.e2e.conftest import album_ids
from tests.e2e.service import REPOSITORY, Service
from tests.integration.app_command import run_app

PETS = ("rex", "tom", "kit")
ROLES = ("web", "embed", "fold", "project")
PARTITIONS = 3
LOST_JOBS = (REPOSITORY / "docs/operations/lost_jobs.sql").read_text()


class Drill:
    """A service on a Kafka and a Postgres of its own, what it was asked, and how long its restores took."""

    def __init__(self, service: Service, postgres: PostgresServer, tmp_path: Path) -> None:
        self.service = service
        self.postgres = postgres
        self.tmp_path = tmp_path
        self.accepted: dict[str, dict[str, list[str]]] = {pet: {} for pet in PETS}
        self.seconds: dict[str, float] = {}

    async def ask(self, jobs: range) -> None:
        """Jobs of two photos for each pet, waited for."""
        ids = album_ids()
        for number in jobs:
            for pet in PETS:
                self.accepted[pet][f"{pet}-{number}"] = ids[2 * number : 2 * number + 2]
                await self.service.submit(pet, f"{pet}-{number}", self.accepted[pet][f"{pet}-{number}"])
        for number in jobs:
            for pet in PETS:
                assert (await self.service.job(f"{pet}-{number}"))["status"] == "succeeded"

    async def answers(self) -> dict[str, Any]:
        """Each pet's answer as Postgres gives it, without the generation."""
        await Redis.from_url(self.service.redis_url).delete(*self._cached())
        found = {pet: dict(await self.service.clusters(pet)) for pet in PETS}
        for answer in found.values():
            del answer["generation"]
        return found

    def _cached(self) -> list[str]:
        return [f"{self.service.namespace}:state:{pet}" for pet in PETS]

    def start(self, *roles: str) -> None:
        self.service.start(*roles)

    def stop(self, *roles: str) -> None:
        for role in roles:
            assert self.service.stop(role) == 0, self.service.log(role)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One of `python -m app`, with the service's settings."""
        own = {name: value for name, value in self.service.env("web").items() if name != "PATH"}
        began = time.monotonic()
        done = run_app(self.tmp_path, *arguments, **own)
        self.seconds[" ".join(arguments[:2])] = time.monotonic() - began
        return done

    def does(self, *arguments: str) -> list[dict[str, Any]]:
        """A command that must succeed; what it told, line by line."""
        done = self.command(*arguments, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def postgres_tool(self, tool: str, *arguments: str) -> None:
        subprocess.run([str(binaries() / tool), *arguments], check=True, capture_output=True)

    async def rebuild(self) -> None:
        """`rebuild`, `rebuild --swap`, in this process."""
        service = self.service
        cache = AnswerCache(Redis.from_url(service.redis_url), namespace=service.namespace, ttl_seconds=600)
        state = self.tmp_path / "rebuild"
        place = Place(cache, service.database_url, service.bootstrap_servers, service.topics, state, 1)
        with (self.tmp_path / "rebuild.log").open("a") as out:
            work = Rebuild(place, Display(out, as_json=True))
            await work.build()
            await work.swap()

    async def trim_versions(self) -> None:
        """What the retention of `media.pet-versions` does in 90 days."""
        partitions = [TopicPartition(self.service.topics.pet_versions.name, number) for number in range(PARTITIONS)]
        async with LogOffsets(self.service.bootstrap_servers) as broker:
            ends = await broker.ends(partitions)
        admin = AIOKafkaAdminClient(bootstrap_servers=self.service.bootstrap_servers)
        await admin.start()
        await admin.delete_records({tp: RecordsToDelete(before_offset=end) for tp, end in ends.items()})
        await admin.close()

    async def execute(self, url: str, statement: str) -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    """A server whose data folder may be destroyed."""
    server = PostgresServer(tmp_path / "postgres")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def second_kafka(tmp_path: Path) -> Iterator[KafkaServer]:
    """A brand-new, empty Kafka; started by the test."""
    server = KafkaServer(tmp_path / "kafka-2", java_options=SHORT_LIVED)
    yield server
    server.stop()


@pytest.fixture
def drill(
    tmp_path: Path,
    kafka: KafkaServer,
    second_kafka: KafkaServer,
    redis_server: RedisServer,
    own_postgres: PostgresServer,
    album: Path,
) -> Iterator[Drill]:
    """The service ends before the second Kafka, which it then runs on."""
    service = Service(
        tmp_path / "service", kafka.bootstrap_servers, redis_server.url, f"{own_postgres.url[:-9]}/media", album
    )
    asyncio.run(_create_database(own_postgres))
    try:
        service.prepare()
        yield Drill(service, own_postgres, tmp_path)
    finally:
        service.close()


async def _create_database(postgres: PostgresServer) -> None:
    connection = await asyncpg.connect(postgres.url)
    await connection.execute("CREATE DATABASE media")
    await connection.close()


async def test_the_drill(drill: Drill, second_kafka: KafkaServer) -> None:
    drill.start(*ROLES)
    await drill.ask(range(2))
    dump = str(drill.tmp_path / "media.dump")
    drill.postgres_tool("pg_dump", "--format=custom", f"--file={dump}", drill.service.database_url)
    await drill.ask(range(2, 4))
    right = await drill.answers()

    await _postgres_is_lost_and_restored_from_a_dump(drill, dump)
    assert await drill.answers() == right
    await audit(drill.service, drill.accepted)

    await _postgres_is_lost_and_there_is_no_dump(drill)
    assert await drill.answers() == right

    export = str(drill.tmp_path / "export")
    drill.does("log", "export", "--to", export)
    await drill.ask(range(4, 5))
    later = await drill.answers()
    lost = await _kafka_is_lost_and_restored_from_an_export_that_postgres_is_ahead_of(drill, second_kafka, export)
    assert await drill.answers() == right, "as it was at the export"

    assert [job["job_id"] for job in lost] == [f"{pet}-4" for pet in PETS]
    for job in lost:
        assert job["payload"]["image_ids"] == drill.accepted[job["pet_id"]][job["job_id"]]
        assert await drill.service.post("/internal/cluster-jobs", job) == 202
    await _until_at(drill, later)
    assert _timeless(await drill.answers()) == _timeless(later)
    await drill.ask(range(5, 6))
    await audit(drill.service, drill.accepted)
    print({name: round(seconds, 1) for name, seconds in drill.seconds.items()})


async def _postgres_is_lost_and_restored_from_a_dump(drill: Drill, dump: str) -> None:
    drill.stop("project")
    drill.postgres.kill()
    shutil.rmtree(drill.postgres.data_dir / "data")
    began = time.monotonic()
    drill.postgres.start()
    await drill.execute(drill.postgres.url, "CREATE DATABASE media")
    drill.postgres_tool("pg_restore", "--exit-on-error", f"--dbname={drill.service.database_url}", dump)
    drill.start("project")
    await _until_versions(drill, 4)
    drill.seconds["dump restored, caught up"] = time.monotonic() - began


async def _postgres_is_lost_and_there_is_no_dump(drill: Drill) -> None:
    """Nor does `media.pet-versions` reach back to the beginning."""
    drill.stop("project")
    await drill.trim_versions()
    await drill.execute(drill.postgres.url, "DROP DATABASE media WITH (FORCE)")
    await drill.execute(drill.postgres.url, "CREATE DATABASE media")
    began = time.monotonic()
    drill.service.prepare()
    await drill.rebuild()
    drill.start("project")
    await _until_versions(drill, 4)
    drill.seconds["rebuilt from nothing"] = time.monotonic() - began
    for pet in PETS:
        for job in drill.accepted[pet]:
            assert (await drill.service.job(job))["status"] == "succeeded", "media.jobs and the states still have them"


async def _kafka_is_lost_and_restored_from_an_export_that_postgres_is_ahead_of(
    drill: Drill, second_kafka: KafkaServer, export: str
) -> list[dict[str, Any]]:
    """Returns the jobs that must be sent again."""
    service = drill.service
    drill.stop(*ROLES)
    began = time.monotonic()
    second_kafka.start()
    service.bootstrap_servers = second_kafka.bootstrap_servers
    shutil.rmtree(service.root / "state")
    told = drill.does("log", "import", "--from", export)
    assert next(each for each in told if each["step"] == "imported")["records"] > 0
    service.prepare()

    ahead = drill.command("log", "adopt")
    assert ahead.returncode == 1
    assert f"{len(PETS)} versions of {len(PETS)} pets whose facts the log no longer has" in ahead.stderr
    await drill.rebuild()
    drill.does("log", "adopt")
    lost = [json.loads(row["job"]) for row in await drill.execute(service.database_url, LOST_JOBS)]
    drill.start(*ROLES)
    await _until_versions(drill, 4)
    drill.seconds["Kafka restored"] = time.monotonic() - began
    return lost


async def _until_versions(drill: Drill, number: int) -> None:
    """Until Postgres has this version of every pet; the service remembers no later one."""
    drill.service._versions.clear()
    async with asyncio.timeout(60):
        while True:
            rows = await drill.execute(
                drill.service.database_url, "SELECT pet_id, max(version) AS last FROM pet_clusters GROUP BY pet_id"
            )
            if {row["pet_id"]: row["last"] for row in rows} == dict.fromkeys(PETS, number):
                return
            await asyncio.sleep(0.05)


async def _until_at(drill: Drill, later: dict[str, Any]) -> None:
    await _until_versions(drill, later[PETS[0]]["version"])


def _timeless(answers: dict[str, Any]) -> dict[str, Any]:
    """Without the times at which the jobs were folded."""
    found = {}
    for pet, answer in answers.items():
        metrics = {name: value for name, value in answer["metrics"].items() if name != "processed_at"}
        found[pet] = {**answer, "metrics": metrics, "updated_at": ""}
    return found
