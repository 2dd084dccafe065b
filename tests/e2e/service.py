"""A whole service under test: every role a process of its own, with topics, database, group and cache keys of its own.

Used by the end-to-end tests and the benchmark. It speaks to the service as callers do: XADD, HTTP, Kafka.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import redis

from app.local.ports import HOST, free_port
from app.local.probe import answers_ok
from schemas.topics import Topics

REPOSITORY: Final = Path(__file__).parents[2]
ROLES: Final = ("web", "bridge", "embed", "fold", "project")
TOKEN: Final = "e2e-token"
SIMILARITY_TOKEN: Final = "e2e-similarity-token"
READY_SECONDS: Final = 90.0


@dataclass
class Service:
    """Call `prepare`, then `start` roles, then use it; `close` ends what runs."""

    root: Path
    bootstrap_servers: str
    redis_url: str
    database_url: str
    images: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    name: str = field(default_factory=lambda: f"e{uuid.uuid4().hex[:10]}")

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.topics = Topics(f"{self.name}.")
        self.stream = f"{self.name}:jobs"
        self.dead_stream = f"{self.name}:dead"
        self.namespace = f"{self.name}.clusters"
        self.web_port = free_port()
        self.ports = {role: free_port() for role in ROLES}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.redis = redis.Redis.from_url(self.redis_url)
        self._versions: dict[str, int] = {}

    def env(self, role: str) -> dict[str, str]:
        """The role's settings."""
        own = {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": self.topics.prefix,
            "KAFKA_PARTITIONS": "3",
            "REDIS_URL": self.redis_url,
            "DATABASE_URL": self.database_url,
            "CLUSTER_STREAM_KEY": self.stream,
            "CLUSTER_DEAD_LETTER_STREAM": self.dead_stream,
            "NAMESPACE": self.namespace,
            "IMAGE_SOURCE": f"file://{self.images}/{{image_id}}.jpg",
            "INTERNAL_TOKEN": TOKEN,
            "DATA_DIR": str(self.root / "state"),
            "WEB_HOST": HOST,
            "WEB_PORT": str(self.web_port),
            "WORKER_METRICS_HOST": HOST,
            "WORKER_METRICS_PORT": str(self.ports.get(role, 9105)),  # `prepare` listens nowhere
            "OPENBLAS_NUM_THREADS": "1",
        }
        return {**os.environ, **own, **self.settings}

    def prepare(self) -> None:
        """Make topics, first facts and tables."""
        (self.root / "state").mkdir(exist_ok=True)
        subprocess.run([sys.executable, "-m", "app", "prepare"], env=self.env("prepare"), cwd=REPOSITORY, check=True)

    def start(self, *roles: str) -> None:
        """Start roles (all when none is named) and wait until each says that it is ready."""
        for role in roles or ROLES:
            self.spawn(role)
        for role in roles or ROLES:
            self.wait_ready(role)

    def spawn(self, role: str) -> None:
        """Start a role without waiting."""
        with (self.root / f"{role}.log").open("ab") as log:
            self.processes[role] = subprocess.Popen(
                self.argv(role), env=self.env(role), cwd=REPOSITORY, stdout=log, stderr=log
            )

    def argv(self, role: str) -> list[str]:
        """The role's command line."""
        return [sys.executable, "-m", "app", role]

    def wait_ready(self, role: str) -> None:
        """Wait for the role's own /readyz."""
        url = f"http://{HOST}:{self.ports[role]}/readyz"
        wait_for(lambda: answers_ok(url), f"{role} to be ready", within=READY_SECONDS, hint=lambda: self.log(role))

    def kill(self, role: str) -> None:
        """SIGKILL."""
        process = self.processes.pop(role)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self, role: str) -> int:
        """SIGTERM; returns the exit code."""
        process = self.processes.pop(role)
        process.terminate()
        return process.wait(timeout=60)

    def close(self) -> None:
        """End every role."""
        for role in list(self.processes):
            self.processes[role].terminate()
        for process in self.processes.values():
            process.wait(timeout=60)
        self.processes.clear()
        self.redis.close()

    def log(self, role: str) -> str:
        """The end of a role's log."""
        return (self.root / f"{role}.log").read_text(errors="replace")[-4000:]

    def publish(self, pet_id: str, job_id: str, image_ids: Iterable[str], **request: Any) -> str:
        """XADD a job as auth-service does; returns the entry's id."""
        details = {"image_ids": list(image_ids), **request.pop("payload", {})}
        metadata = {"triggered_by": "auth-service", **request.pop("metadata", {})}
        inner = {"pet_id": pet_id, "job_id": job_id, "reason": "insights_ready", "force": False}
        envelope = {
            "job_id": job_id,
            "pet_id": pet_id,
            "payload": {**inner, **request, "payload": details, "metadata": metadata},
            "attempts": 0,
            "enqueued_at": "2026-11-21T07:49:24.600874+00:00",
        }
        return self.add_entry({"payload": json.dumps(envelope)})

    def add_entry(self, fields: dict[str, str]) -> str:
        """XADD any fields; returns the entry's id."""
        values: Any = fields  # redis-py types the mapping's keys invariantly
        entry: Any = self.redis.xadd(self.stream, values)
        return str(entry.decode())

    async def submit(self, pet_id: str, job_id: str, image_ids: Iterable[str], within: float = 60.0) -> int:
        """POST a job until the API accepts it, as a caller repeats what got no answer or 503; returns the tries."""
        body = {"pet_id": pet_id, "job_id": job_id, "payload": {"image_ids": list(image_ids)}}
        deadline = time.monotonic() + within
        tries = 0
        while True:
            tries += 1
            status, answer = await self._call("POST", "/internal/cluster-jobs", body)
            if status == 202:
                return tries
            assert status in (0, 503), f"job {job_id} was refused with {status}: {answer}"
            assert time.monotonic() < deadline, f"job {job_id} was not accepted: {answer}; {self._logs()}"
            await asyncio.sleep(0.05)

    async def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of a GET with the token; status 0 while the API is away."""
        return await self._call("GET", path)

    async def post(self, path: str, body: Any) -> int:
        """The status of a POST with the token; 0 while the API is away."""
        return (await self._call("POST", path, body))[0]

    async def _call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"X-Internal-Token": TOKEN, "X-Similarity-Token": SIMILARITY_TOKEN}
        async with aiohttp.ClientSession(headers=headers) as session:
            try:
                async with session.request(method, f"http://{HOST}:{self.web_port}{path}", json=body) as response:
                    return response.status, await response.json()
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
                return 0, str(error)

    async def job(self, job_id: str, within: float = 60.0) -> dict[str, Any]:
        """The job's record once it has succeeded or failed."""
        deadline = time.monotonic() + within
        while True:
            status, answer = await self.get(f"/internal/jobs/{job_id}")
            if status == 200 and answer["data"]["status"] in ("succeeded", "failed"):
                record: dict[str, Any] = answer["data"]
                self.has_version(record["pet_id"], record["version"])
                return record
            assert time.monotonic() < deadline, f"job {job_id} did not end: {answer}; {self._logs()}"
            await asyncio.sleep(0.05)

    def has_version(self, pet_id: str, version: int) -> None:
        """The pet has been seen to have this version."""
        self._versions[pet_id] = max(self._versions.get(pet_id, 0), version)

    async def clusters(self, pet_id: str) -> dict[str, Any]:
        """The pet's answer, at the version that was seen or later: the cache follows the rows by a moment."""
        deadline = time.monotonic() + 30
        while True:
            status, answer = await self.get(f"/internal/pets/{pet_id}/clusters")
            if status == 200 and answer["version"] >= self._versions.get(pet_id, 0):
                found: dict[str, Any] = answer
                return found
            assert time.monotonic() < deadline, f"the answer of {pet_id} stays behind: {answer}"
            await asyncio.sleep(0.02)

    def _logs(self) -> str:
        return "\n".join(f"--- {role}\n{self.log(role)}" for role in ROLES if (self.root / f"{role}.log").exists())


def wait_for(
    condition: Callable[[], bool], what: str, *, within: float = 60.0, hint: Callable[[], str] = lambda: ""
) -> None:
    """Poll until `condition`; raises AssertionError with `hint` after `within` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"waited {within:.0f} s for {what}\n{hint()}"
        time.sleep(0.05)


def image_ids_of(answer: dict[str, Any]) -> set[str]:
    """All images that an answer lists, in clusters or not."""
    members = {member["image_id"] for cluster in answer["clusters"] for member in cluster["members"]}
    return members | set(answer["unclustered"])
