"""The servers and the service that a benchmark measures: its own, ended and removed whatever happens."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from app.local.kafka import KafkaServer
from app.local.postgres import PostgresServer
from app.local.redis import RedisServer
from tests.e2e.service import REPOSITORY, Service

_QUIET: Final = {"LOG_LEVEL": "WARNING"}
"""A line of `prepare` would tear the progress bars."""


@dataclass(frozen=True)
class Rig:
    """A prepared service of which no role runs yet, and its servers, which serve nothing else."""

    kafka: KafkaServer
    redis: RedisServer
    postgres: PostgresServer
    service: Service
    images: Path


@contextmanager
def rig(settings: Mapping[str, str]) -> Iterator[Rig]:
    """A rig in a folder of its own; `settings` are the roles', `Rig.images` is to be filled with photos."""
    local = REPOSITORY / ".local"
    local.mkdir(exist_ok=True)
    with ExitStack() as stack:
        root = Path(tempfile.mkdtemp(prefix="bench-", dir=local))
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        servers = KafkaServer(root / "kafka"), RedisServer(root / "redis"), PostgresServer(root / "postgres")
        for server in servers:
            stack.callback(server.stop)
            server.spawn()
        for server in servers:
            server.wait_ready()
        kafka, redis, postgres = servers
        url = asyncio.run(_create_database(postgres.url, f"bench_{uuid.uuid4().hex[:8]}"))
        images = root / "images"
        images.mkdir()
        service = Service(root / "service", kafka.bootstrap_servers, redis.url, url, images, {**_QUIET, **settings})
        stack.callback(_close, service)
        service.prepare()
        yield Rig(kafka, redis, postgres, service, images)


def alive(service: Service) -> None:
    """Raises RuntimeError with its log when a role has ended: nothing would come any more."""
    for role, process in service.processes.items():
        if process.poll() is not None:
            raise RuntimeError(f"{role} ended with exit code {process.returncode}\n{service.log(role)}")


def _close(service: Service) -> None:
    """End the roles, with SIGKILL those that do not end in time."""
    try:
        service.close()
    except subprocess.TimeoutExpired:
        for role in list(service.processes):
            service.kill(role)


async def _create_database(url: str, name: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return url.rpartition("/")[0] + f"/{name}"
