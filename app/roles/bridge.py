"""The bridge role: Redis Stream → `media.jobs`."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import stamina
from aiokafka.errors import KafkaConnectionError

from app.clients import create_producer, open_redis
from app.roles.role import Role, stop_signal
from app.settings import Settings
from app.telemetry import metric_defs as defs
from app.telemetry.health import Check, ping_check
from bridges.metrics import BridgeMetrics
from bridges.redis_jobs import RedisJobsBridge

PING_SECONDS = 2.0
STOP_SECONDS = 5.0


def run(settings: Settings) -> None:
    """Run until SIGTERM."""
    asyncio.run(_run(Role.prepare("bridge", settings)))


async def _run(role: Role) -> None:
    stopping = stop_signal()
    redis = open_redis(role.settings, blocks_for_seconds=role.settings.cluster_read_timeout_ms / 1000)
    producer = create_producer(role.settings, "media-bridge")
    started: dict[str, Check] = {"kafka": Check(False, "connecting")}

    async def readiness() -> dict[str, Check]:
        return {"redis": await ping_check(redis.ping, PING_SECONDS), **started}

    async with role.operated(readiness):
        await start_producer(producer)
        started["kafka"] = Check(True, "connected")
        bridge = _bridge(role, redis, producer)
        loop = asyncio.create_task(bridge.run())
        stop = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({loop, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not loop.done():
                await bridge.stop()
            await loop  # raises what ended it, so that the supervisor sees a failed process
        finally:
            stop.cancel()
            await stop_producer(producer)
            await redis.aclose()


@stamina.retry(on=KafkaConnectionError, attempts=None, timeout=None, wait_max=5.0)
async def start_producer(producer: Any) -> None:
    """Start the producer, as soon as there is a broker."""
    await producer.start()


async def stop_producer(producer: Any) -> None:
    """Stop the producer; with Kafka down its flush would never end, and what is unconfirmed is done again anyway."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(producer.stop(), STOP_SECONDS)


def _bridge(role: Role, redis: Any, producer: Any) -> RedisJobsBridge:
    settings, metrics = role.settings, role.metrics
    return RedisJobsBridge(
        redis,
        producer,
        settings.topics(),
        stream_key=settings.cluster_stream_key,
        group=settings.cluster_consumer_group,
        consumer_name=settings.cluster_worker_consumer_name,
        dead_letter_stream=settings.cluster_dead_letter_stream,
        dead_letter_maxlen=settings.cluster_stream_maxlen,
        read_count=settings.cluster_read_count,
        read_timeout_ms=settings.cluster_read_timeout_ms,
        retry_idle_ms=settings.cluster_retry_idle_ms,
        max_attempts=settings.cluster_max_attempts,
        trim_approximate=settings.cluster_stream_approximate_trim,
        metrics=BridgeMetrics(
            relayed=metrics.counter(defs.BRIDGE_RELAYED),
            invalid=metrics.counter(defs.JOBS_PROCESSED, result="invalid"),
            lost=metrics.counter(defs.BRIDGE_LOST),
            trimmed=metrics.counter(defs.BRIDGE_TRIMMED),
            pending=metrics.gauge(defs.PENDING_JOBS),
            lag_seconds=metrics.gauge(defs.STREAM_LAG),
            unread=metrics.gauge(defs.BRIDGE_UNREAD),
        ),
    )
