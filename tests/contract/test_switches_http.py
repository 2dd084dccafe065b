"""The switches of a rollout over HTTP: what is still answered, what is refused by which word, what roles say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from app.local.ports import HOST, free_port
from app.local.probe import answers_ok
from app.local.processes import wait_until
from projections.cache import AnswerCache
from tests.contract.test_wire_http import JOB, PET, VERSION, api, expected_answer, stores
from tests.contract.web_rig import TOKEN, Api, Stores, nowhere, serving

__all__ = ["api", "stores"]

ROOT = Path(__file__).parents[2]
POSTGRES_OFF = {"ok": True, "detail": "not read: READ_POSTGRES is false"}
NEEDS_POSTGRES = (
    f"{PET}/clusters/1",
    f"{PET}/clusters/as-of?time=2026-11-21T08:00:00Z",
    f"{PET}/versions",
    f"{PET}/diff?from=1&to=2",
    f"{PET}/clusters/101-cluster-0/members",
    f"{PET}/images/a",
    f"{PET}/jobs",
    "/internal/jobs/job_1",
    "/internal/jobs?state=failed",
)


async def test_without_reading_postgres_cached_answers_go_on_and_the_rest_says_why(
    api: Api, stores: Stores, tmp_path: Path
) -> None:
    await api.project(VERSION)
    assert (await api.call("GET", f"{PET}/clusters")).status == 200  # puts it into Redis
    # Its Postgres is one that would not answer: nothing may ask it.
    without = Stores(
        f"postgresql://postgres@{nowhere()}/none", stores.redis_url, stores.bootstrap_servers, stores.topics
    )
    async with serving(without, tmp_path / "off", read_postgres=False) as closed:
        await closed.until_submitting()
        cached = await closed.call("GET", f"{PET}/clusters")
        assert (cached.status, cached.body) == (200, await expected_answer(api))
        assert (await closed.call("GET", f"{PET}/clusters/latest")).status == 200
        plain = await closed.call("GET", "/internal/pets/other/clusters")
        assert (plain.status, plain.body) == (503, b'{"detail":"cluster store not read"}')
        for path in ("/internal/pets/other/clusters/latest", *NEEDS_POSTGRES):
            reply = await closed.call("GET", path)
            assert (reply.status, json.loads(reply.body)["error"]["code"]) == (503, "reading_off"), path
        assert (await closed.call("POST", "/internal/cluster-jobs", json.dumps(JOB).encode())).status == 202
        ready = await closed.call("GET", "/readyz", token=None)
        assert (ready.status, json.loads(ready.body)["checks"]["postgres"]) == (200, POSTGRES_OFF)


async def test_without_reading_redis_postgres_answers_and_nothing_is_cached(
    api: Api, stores: Stores, tmp_path: Path
) -> None:
    await api.project(VERSION)
    cache = AnswerCache(api.redis, namespace="test.clusters", ttl_seconds=600)
    await cache.put("101", b'{"left":"there","generation":1,"version":1}', 1, 1)
    async with serving(stores, tmp_path / "off", read_redis=False) as uncached:
        reply = await uncached.call("GET", f"{PET}/clusters")
        assert (reply.status, reply.body) == (200, await expected_answer(api))
        assert await cache.get("101") == b'{"left":"there","generation":1,"version":1}'
        assert (await uncached.call("POST", f"{PET}/invalidate")).body == b'{"status":"removed"}'
        assert (await uncached.call("GET", f"{PET}/clusters")).status == 200
        assert await cache.get("101") is None


@contextmanager
def role(name: str, folder: Path, **variables: str) -> Iterator[tuple[str, str]]:
    """A role's process with no server anywhere, by the base URLs of its metrics and its API; it must end well."""
    metrics, web = free_port(), free_port()
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": nowhere(), "REDIS_URL": f"redis://{nowhere()}/0",
        "DATABASE_URL": f"postgresql://postgres@{nowhere()}/postgres", "DATA_DIR": str(folder),
        "WORKER_METRICS_HOST": HOST, "WORKER_METRICS_PORT": str(metrics), "WEB_HOST": HOST, "WEB_PORT": str(web),
        "INTERNAL_TOKEN": TOKEN,
    }  # fmt: skip
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", name],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **settings, **variables},
            cwd=folder,
            stderr=log,
        )
    try:
        assert wait_until(lambda: answers_ok(f"http://{HOST}:{metrics}/healthz"), 60), (folder / "log").read_text()
        yield f"http://{HOST}:{metrics}", f"http://{HOST}:{web}"
        process.terminate()
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()


def switches(folder: Path) -> dict[str, bool]:
    """Those of the log's line about them."""
    lines = (json.loads(line) for line in (folder / "log").read_text().splitlines())
    (told,) = (line for line in lines if line["message"] == "switches")
    return {name: value for name, value in told.items() if isinstance(value, bool)}


async def checks_of(url: str, token: str = "") -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.get(url, headers={"X-Internal-Token": token}) as response:
        return response.status, json.loads(await response.read())


async def test_a_projector_that_is_switched_off_rests_and_says_so(tmp_path: Path) -> None:
    off = dict.fromkeys(("PROJECT_POSTGRES", "PROJECT_REDIS", "READ_POSTGRES", "READ_REDIS"), "false")
    with role("project", tmp_path, **off) as (url, _):
        status, document = await checks_of(f"{url}/readyz")
        assert (status, document["checks"]) == (
            200,
            {"projector": {"ok": True, "detail": "resting: PROJECT_POSTGRES is false"}},
        )
    assert switches(tmp_path) == {name.lower(): False for name in (*off, "READ_UNWRITTEN")}


async def test_the_api_obeys_its_switches(tmp_path: Path) -> None:
    with role("web", tmp_path, READ_POSTGRES="false", READ_REDIS="false") as (url, api_url):
        _, document = await checks_of(f"{url}/readyz")
        assert document["checks"]["postgres"] == POSTGRES_OFF
        assert document["checks"]["redis"] == {"ok": True, "detail": "not read: READ_REDIS is false"}
        assert wait_until(lambda: answers_ok(f"{api_url}/healthz"), 60)
        for path in (*NEEDS_POSTGRES, f"{PET}/clusters/latest", "/internal/dead-letters"):
            status, document = await checks_of(api_url + path, TOKEN)
            assert (status, document["error"]["code"]) == (503, "reading_off"), path
        assert await checks_of(f"{api_url}{PET}/clusters", TOKEN) == (503, {"detail": "cluster store not read"})
    assert [name for name, on in switches(tmp_path).items() if on] == ["project_postgres", "project_redis"]
