"""Redis stops, freezes, is killed, forgets."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import ClassVar, Final

import redis
from redis.exceptions import RedisError

from app.local.processes import ProcessId
from app.local.redis import RedisServer
from tests.faults.fault import Fault
from tests.faults.servers import start
from tests.faults.stack import Stack

DRAIN_SECONDS: Final = 12.0
GROUP: Final = "media-clustering-workers"


def _both(stack: Stack) -> tuple[RedisServer, RedisServer]:
    return stack.servers.jobs_redis, stack.servers.cache_redis


class RedisStop(Fault):
    """Stopped in good order, away for a while, back with its data."""

    family: ClassVar[str] = "redis_stop"

    async def inject(self, stack: Stack) -> None:
        """Stop both."""
        for server in _both(stack):
            await asyncio.to_thread(server.stop)

    async def heal(self, stack: Stack) -> None:
        """Start both again."""
        for server in _both(stack):
            await start(server)


class RedisKill(RedisStop):
    """SIGKILL; what it had accepted is on its disk (appendfsync always)."""

    family: ClassVar[str] = "redis_kill"

    async def inject(self, stack: Stack) -> None:
        """Kill both."""
        for server in _both(stack):
            await asyncio.to_thread(server.kill)


class RedisFreeze(Fault):
    """SIGSTOP: it takes connections and answers nothing."""

    family: ClassVar[str] = "redis_freeze"

    async def inject(self, stack: Stack) -> None:
        """Freeze both."""
        self._frozen = [_process(server) for server in _both(stack)]
        for process in self._frozen:
            process.send(signal.SIGSTOP)

    async def heal(self, stack: Stack) -> None:
        """Go on."""
        for process in self._frozen:
            process.send(signal.SIGCONT)


class RedisFlush(Fault):
    """FLUSHALL of the cached answers; of the job stream too, with its group, once all of it has been read."""

    family: ClassVar[str] = "redis_flush"

    async def inject(self, stack: Stack) -> None:
        """Flush the cache at once, the stream when it is drained; a stream that is not drained in time is spared."""
        await asyncio.to_thread(_flush, stack.servers.cache_redis)
        await stack.submitter.hold()
        try:
            deadline = time.monotonic() + DRAIN_SECONDS
            while time.monotonic() < deadline:
                if await asyncio.to_thread(_flush_if_drained, stack.servers.jobs_redis, stack.service.stream):
                    stack.count("stream flushed with its group")
                    return
                await asyncio.sleep(0.1)
            stack.count("stream spared: not drained in time")
        finally:
            stack.submitter.gate.set()


def _process(server: RedisServer) -> ProcessId:
    process = server._process.identity()
    assert process is not None, "Redis does not run"
    return process


def _flush(server: RedisServer) -> None:
    with redis.Redis.from_url(server.url, socket_timeout=10) as client:
        client.flushall()


def _flush_if_drained(server: RedisServer, stream: str) -> bool:
    """Whether everything was read and acknowledged, and is flushed now. Nothing is added meanwhile."""
    try:
        with redis.Redis.from_url(server.url, socket_timeout=10) as client:
            groups = client.xinfo_groups(stream)
            drained = any(_text(group["name"]) == GROUP and _is_drained(group) for group in groups)
            if drained:
                client.flushall()
            return drained
    except RedisError:
        return False


def _is_drained(group: dict[str, object]) -> bool:
    return group["pending"] == 0 and group.get("lag") == 0


def _text(raw: object) -> str:
    return raw.decode() if isinstance(raw, bytes) else str(raw)
