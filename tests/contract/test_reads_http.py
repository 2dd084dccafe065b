"""Reads of current clusters over HTTP while stores come and go, and while the caller waits for its own write.

The servers are these tests' own: they are frozen and killed.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec
import pytest

from app.local.postgres import PostgresServer
from app.local.redis import RedisServer
from app.local.server import EmbeddedServer
from projections.jobs import record_statuses
from schemas.public import JobState, JobStatus
from schemas.topics import Topics
from schemas.versions import PetVersion
from tests.conftest import fresh_database, migrated_template
from tests.contract.test_wire_http import ANSWER, PET, VERSION
from tests.contract.web_rig import REDIS_CONNECTIONS, Api, Reply, Stores, nowhere, serving
from tests.integration.bridge_rig import DEADLINE_S, eventually

CLUSTERS: Final = f"{PET}/clusters"
LATEST: Final = f"{CLUSTERS}/latest"
UNKNOWN: Final = "/internal/pets/unknown/clusters"
HIT: Final = "media-clusters; hit"
AWAY_DETAIL: Final = b'{"detail":"cluster store unavailable"}'
SOON_SECONDS: Final = 10.0
"""Far beyond what an answer may take, and well below what asyncpg takes to give a frozen server up."""
STAMPEDE: Final = 60


@dataclass(frozen=True)
class Servers:
    postgres: PostgresServer
    redis: RedisServer
    migrated: str


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    root = tmp_path_factory.mktemp("reads")
    postgres = PostgresServer(root / "postgres", settings={"fsync": "off"})
    redis = RedisServer(root / "redis")
    postgres.start()
    redis.start()
    yield Servers(postgres, redis, migrated_template(postgres))
    redis.stop()
    postgres.stop()


@pytest.fixture
async def api(servers: Servers, tmp_path: Path) -> AsyncIterator[Api]:
    with fresh_database(servers.postgres, servers.migrated) as url:
        async with serving(Stores(url, servers.redis.url, nowhere(), Topics("none.")), tmp_path) as running:
            await running.redis.flushdb()
            yield running


@pytest.fixture
async def patient(servers: Servers, tmp_path: Path) -> AsyncIterator[Api]:
    """An API that gives no store up, whatever else the machine has to do."""
    with fresh_database(servers.postgres, servers.migrated) as url:
        stores = Stores(url, servers.redis.url, nowhere(), Topics("none."))
        async with serving(stores, tmp_path, cache_seconds=DEADLINE_S, store_seconds=DEADLINE_S) as running:
            await running.redis.flushdb()
            yield running


@contextmanager
def frozen(*servers: EmbeddedServer) -> Iterator[None]:
    """They take connections and answer nothing."""
    processes = []
    for server in servers:
        main = server._process.identity()
        assert main is not None
        processes += [main, *main.descendants()]
    try:
        for process in processes:
            process.send(signal.SIGSTOP)
        yield
    finally:
        for process in processes:
            process.send(signal.SIGCONT)


@contextmanager
def killed(*servers: EmbeddedServer) -> Iterator[None]:
    """They are gone, and come back on the same ports."""
    for server in servers:
        server.kill()
    try:
        yield
    finally:
        for server in servers:
            server.start()


Outage = Callable[..., Any]
both_outages = pytest.mark.parametrize("outage", [frozen, killed])


async def soon(reply: Awaitable[Reply]) -> Reply:
    async with asyncio.timeout(SOON_SECONDS):
        return await reply


async def until(api: Api, path: str, fits: Callable[[Reply], bool]) -> Reply:
    """Asks until an answer fits; each comes in time."""
    replies: list[Reply] = []

    async def asked() -> bool:
        replies.append(await soon(api.call("GET", path)))
        return fits(replies[-1])

    await eventually(asked)
    return replies[-1]


def status(reply: Reply) -> str:
    return str(reply.headers.get("Cache-Status", ""))


def is_stale(reply: Reply) -> bool:
    return status(reply).startswith(f"{HIT}; ttl=-") and status(reply).endswith("; detail=store-unavailable")


def second(**changes: Any) -> PetVersion:
    return msgspec.structs.replace(VERSION, version=2, offset=1, members=(), clusters=(), **changes)


async def told(api: Api, job_id: str, state: JobState, version: int = 0) -> None:
    """Record a job's state as the projector does."""
    row = JobStatus(pet_id="101", job_id=job_id, status=state, at="2026-11-21T08:00:00.000000+00:00", version=version)
    async with api.pool.acquire() as connection:
        await record_statuses(connection, [row])


async def until_waiting(api: Api, number: int = 1) -> None:
    """Until so many requests wait."""
    await eventually(lambda: f"media_cluster_web_waiting {number}.0".encode() in api.metrics.exposition())


# ---- one query


async def test_a_stampede_on_one_pet_makes_one_query(patient: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await patient.project(VERSION)
    expected = ANSWER.replace("%d", str(await patient.pool.fetchval("SELECT generation FROM projection_generations")))
    missed = 0
    join = patient.answers._flights.do

    async def counted(*arguments: Any) -> Any:
        nonlocal missed
        missed += 1
        return await join(*arguments)

    monkeypatch.setattr(patient.answers._flights, "do", counted)
    holder = await asyncpg.connect(patient.database_url)
    try:
        lock = holder.transaction()
        await lock.start()
        await holder.execute("LOCK TABLE pet_clusters IN ACCESS EXCLUSIVE MODE")
        stampede = [asyncio.create_task(patient.call("GET", CLUSTERS)) for _ in range(STAMPEDE)]
        await eventually(lambda: missed == STAMPEDE)
        await eventually(lambda: _held_up(holder))
        assert await _held_up(holder) == 1
        await lock.rollback()
        replies = await asyncio.gather(*stampede)
    finally:
        await holder.close()
    assert {(reply.status, reply.body.decode()) for reply in replies} == {(200, expected)}
    collapsed = [reply for reply in replies if status(reply) == "media-clusters; fwd=uri-miss; stored; collapsed"]
    assert len(collapsed) == STAMPEDE - 1
    assert status(await patient.call("GET", CLUSTERS)) == HIT


async def test_more_readers_than_connections_are_all_answered_from_the_cache(patient: Api) -> None:
    await patient.project(VERSION)
    await patient.call("GET", CLUSTERS)
    replies = await asyncio.gather(*(patient.call("GET", CLUSTERS) for _ in range(STAMPEDE)))
    assert STAMPEDE > REDIS_CONNECTIONS
    assert {status(reply) for reply in replies} == {HIT}


async def _held_up(connection: Any) -> int:
    """Statements of the API that wait for the lock."""
    count: int = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return count


# ---- stores that are away


@both_outages
async def test_while_postgres_is_away_cached_answers_are_served_as_stale(
    api: Api, servers: Servers, outage: Outage
) -> None:
    await api.project(VERSION)
    fresh = await api.call("GET", CLUSTERS)
    with outage(servers.postgres):
        stale = await until(api, CLUSTERS, is_stale)
        assert (stale.status, stale.body, stale.headers["ETag"]) == (200, fresh.body, '"v1"')
        unchanged = await soon(api.call("GET", LATEST, headers={"If-None-Match": '"v1"'}))
        assert (unchanged.status, is_stale(unchanged)) == (304, True)
        other = await soon(api.call("GET", UNKNOWN))
        assert (other.status, other.body, other.headers["Retry-After"]) == (503, AWAY_DETAIL, "1")
        assert (await soon(api.call("GET", f"{CLUSTERS}?min_version=1"))).status == 200
        for beyond in (f"{CLUSTERS}?min_version=2", f"{CLUSTERS}?wait_for_job=job_1"):
            assert (await soon(api.call("GET", beyond))).status == 503
    back = await until(api, CLUSTERS, lambda reply: status(reply) == HIT)
    assert back.body == fresh.body
    assert (await api.call("GET", UNKNOWN)).status == 404


@both_outages
async def test_while_redis_is_away_postgres_answers(api: Api, servers: Servers, outage: Outage) -> None:
    await api.project(VERSION)
    fresh = await api.call("GET", CLUSTERS)
    bypass = "media-clusters; fwd=bypass; detail=cache-unavailable"
    with outage(servers.redis):
        reply = await until(api, CLUSTERS, lambda reply: status(reply) == bypass)
        assert (reply.status, reply.body) == (200, fresh.body)
        assert (await soon(api.call("GET", UNKNOWN))).status == 404
    assert (await until(api, CLUSTERS, lambda reply: status(reply) == HIT)).body == fresh.body


@both_outages
async def test_with_both_away_reads_say_so_in_time_and_the_api_lives_on(
    api: Api, servers: Servers, outage: Outage
) -> None:
    await api.project(VERSION)
    fresh = await api.call("GET", CLUSTERS)
    with outage(servers.postgres, servers.redis):
        # Nobody knows yet that they are away.
        first = await asyncio.gather(*(soon(api.call("GET", CLUSTERS)) for _ in range(20)))
        assert {(reply.status, reply.body) for reply in first} == {(503, AWAY_DETAIL)}
        enveloped = await soon(api.call("GET", LATEST))
        assert (enveloped.status, enveloped.headers["Retry-After"]) == (503, "1")
        assert json.loads(enveloped.body)["error"]["code"] == "store_unavailable"
        assert (await soon(api.call("GET", "/healthz", token=None))).status == 200
    await until(api, CLUSTERS, lambda reply: status(reply) == HIT and reply.body == fresh.body)


# ---- one's own writes


async def test_a_version_is_waited_for(patient: Api) -> None:
    await patient.project(VERSION)
    await patient.call("GET", CLUSTERS)
    waiting = asyncio.create_task(patient.call("GET", f"{CLUSTERS}?min_version=2&wait=10"))
    await until_waiting(patient)
    await patient.project(second())
    reply = await waiting
    assert (reply.status, json.loads(reply.body)["version"], reply.headers["ETag"]) == (200, 2, '"v2"')
    # The cached answer was behind; now it is not.
    assert status(reply) == "media-clusters; fwd=request; stored"
    assert status(await patient.call("GET", f"{CLUSTERS}?min_version=2")) == HIT


async def test_a_version_that_does_not_come_is_a_conflict(api: Api) -> None:
    await api.project(VERSION)
    for wait in ("", "&wait=0", "&wait=0.1"):
        enveloped = await api.call("GET", f"{LATEST}?min_version=2{wait}")
        error = json.loads(enveloped.body)["error"]
        assert (enveloped.status, error["code"], error["version"]) == (409, "version_not_reached", 1)
        assert enveloped.headers["Retry-After"] == "1"
    bare = await api.call("GET", f"{CLUSTERS}?min_version=2&wait=0")
    assert (bare.status, bare.body) == (409, b'{"detail":"the pet is at version 1, not yet at 2"}')
    missing = await api.call("GET", f"{UNKNOWN}?min_version=1&wait=0")
    assert (missing.status, missing.body) == (404, b'{"detail":"cluster state not found"}')


async def test_a_job_is_waited_for_from_its_acceptance_to_its_end(api: Api) -> None:
    await api.project(VERSION)
    await api.call("GET", CLUSTERS)
    waiting = asyncio.create_task(api.call("GET", f"{CLUSTERS}?wait_for_job=job_2&wait=10"))
    await until_waiting(api)
    await told(api, "job_2", "processing")
    await api.project(second())
    assert not waiting.done()
    await told(api, "job_2", "succeeded", 2)
    reply = await waiting
    assert (reply.status, json.loads(reply.body)["version"]) == (200, 2)
    assert reply.headers["X-Job-Status"] == "succeeded"


async def test_a_failed_job_is_an_end(api: Api) -> None:
    await told(api, "job_1", "failed")
    none = await api.call("GET", f"{LATEST}?wait_for_job=job_1")
    assert (none.status, none.headers["X-Job-Status"]) == (404, "failed")
    await api.project(VERSION)
    reply = await api.call("GET", f"{LATEST}?wait_for_job=job_1")
    assert (reply.status, reply.headers["X-Job-Status"], reply.headers["ETag"]) == (200, "failed", '"v1"')


async def test_a_job_that_goes_on_or_that_nobody_knows_is_told_so(api: Api) -> None:
    await api.project(VERSION)
    await told(api, "job_1", "processing")
    goes_on = await api.call("GET", f"{LATEST}?wait_for_job=job_1&wait=0.1")
    assert (goes_on.status, json.loads(goes_on.body)["error"]["code"]) == (409, "job_unfinished")
    assert (goes_on.headers["X-Job-Status"], goes_on.headers["Retry-After"]) == ("processing", "1")
    # Another pet's job of this id is none of this one's.
    for path in (f"{LATEST}?wait_for_job=none&wait=0", "/internal/pets/102/clusters/latest?wait_for_job=job_1&wait=0"):
        unknown = await api.call("GET", path)
        assert (unknown.status, json.loads(unknown.body)["error"]["code"]) == (404, "job_not_found")


@pytest.mark.parametrize(
    ("query", "field"),
    [("min_version=0", "min_version"), ("wait=11", "wait"), ("wait_for_job=a%20b", "wait_for_job"), ("wait=", "wait")],
)
async def test_a_bad_parameter_is_named(api: Api, query: str, field: str) -> None:
    enveloped = await api.call("GET", f"{LATEST}?{query}")
    error = json.loads(enveloped.body)["error"]
    assert (enveloped.status, error["code"], error["field"]) == (422, "invalid_parameter", field)
    bare = await api.call("GET", f"{CLUSTERS}?{query}")
    assert (bare.status, json.loads(bare.body)["detail"][0]["loc"]) == (422, ["query", field])


async def test_parameters_that_nobody_knows_are_passed_over_as_ever(api: Api) -> None:
    await api.project(VERSION)
    assert (await api.call("GET", f"{CLUSTERS}?fresh=yes&fresh=no")).status == 200
