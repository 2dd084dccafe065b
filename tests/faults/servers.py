"""The servers of one seed: Kafka, two Redis and Postgres of its own, on ports that survive restarts. Used by stack.py.

Two Redis: the bridge's with the job stream, the projector's and the API's with the cached answers. So FLUSHALL of the
cache may strike at any time, while that of the stream, which takes accepted jobs with it by definition, waits until the
stream is drained.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Final

import asyncpg
import redis

from app.local.kafka import SHORT_LIVED, KafkaServer
from app.local.ports import free_run
from app.local.postgres import PostgresServer
from app.local.redis import RedisServer
from app.local.server import EmbeddedServer

PORTS: Final = 40
_FIRST_PORT: Final = 10_000
"""Below the range that outgoing connections take theirs from: one of those could sit on a stopped server's port."""


JAVA_OPTIONS: Final = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""A broker that is restarted all the time is done with long before its hot code would pay for better compilation."""


def own_ports() -> list[int]:
    """Ports for one seed, which nobody else here is likely to look for."""
    first = free_run(_FIRST_PORT + os.getpid() * 53 % 20_000, PORTS)
    return list(range(first, first + PORTS))


class Servers:
    """Call `start`, use, `stop`."""

    def __init__(self, root: Path, ports: list[int]) -> None:
        self.kafka = KafkaServer(root / "kafka", java_options=SHORT_LIVED)
        self.jobs_redis = RedisServer(root / "redis-jobs")
        self.cache_redis = RedisServer(root / "redis-cache")
        self.postgres = PostgresServer(root / "postgres")
        for server in self.all():
            server.data_dir.mkdir(parents=True)
            book = {name: ports.pop() for name in server.port_names}
            (server.data_dir / "ports.json").write_text(json.dumps(book))

    def all(self) -> tuple[EmbeddedServer, ...]:
        """Every server."""
        return (self.kafka, self.jobs_redis, self.cache_redis, self.postgres)

    @property
    def database_url(self) -> str:
        """The service's database."""
        return self.postgres.url.rpartition("/")[0] + "/media"

    async def start(self) -> None:
        """Start all; make the database."""
        os.environ.setdefault("JAVA_TOOL_OPTIONS", JAVA_OPTIONS)
        await asyncio.gather(*(start(server) for server in self.all()))
        connection = await asyncpg.connect(self.postgres.url)
        try:
            await connection.execute("CREATE DATABASE media")
        finally:
            await connection.close()

    def stop(self) -> None:
        """Kill all: nobody needs their data any more."""
        for server in self.all():
            server.kill()


async def start(server: EmbeddedServer) -> None:
    """Start a server; its process is tied to the main thread's life, the waiting is done in another."""
    server.spawn()
    await asyncio.to_thread(server.wait_ready)
    if isinstance(server, RedisServer):
        await asyncio.to_thread(_sync_every_write, server)


def _sync_every_write(server: RedisServer) -> None:
    """What Redis has accepted survives its own SIGKILL: here it is our service that is on trial."""
    with redis.Redis.from_url(server.url, socket_timeout=10) as client:
        client.config_set("appendfsync", "always")
