"""The bridge role: Redis Stream, due retries and requeued dead letters → `media.jobs`.

Three loops side by side: the two that read Kafka go on while Redis is away.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from app.clients import PING_SECONDS, create_producer, open_redis, start_producer, stop_producer
from app.roles.loops import run_together
from app.roles.membership import membership
from app.roles.role import Role, stop_signal
from app.settings import Settings
from app.telemetry import metric_defs as defs
from app.telemetry.health import Check, ping_check
from bridges.metrics import BridgeMetrics
from bridges.redis_jobs import RedisJobsBridge
from bridges.requeue import RequeueExecutor, RequeueMetrics
from bridges.retries import RetryMetrics, RetryPump

RELAY_OPTIONS: Final[dict[str, Any]] = {
    # A paused partition is left out of the fetch under way: it may be due before that one has waited its time.
    "fetch_max_wait_ms": 200,
    # What rests is fetched again when it is due, and most of it then thrown away.
    "max_partition_fetch_bytes": 2**18,
}


def run(settings: Settings) -> None:
    """Run until SIGTERM."""
    asyncio.run(_run(Role.prepare("bridge", settings)))


async def _run(role: Role) -> None:
    stopping = stop_signal(role.settings.shutdown_seconds)
    redis = open_redis(role.settings, blocks_for_seconds=role.settings.cluster_read_timeout_ms / 1000)
    producer = create_producer(role.settings, "media-bridge")
    started: dict[str, Check] = {"kafka": Check(False, "connecting")}

    async def readiness() -> dict[str, Check]:
        return {"redis": await ping_check(redis.ping, PING_SECONDS), **started}

    async with role.operated(readiness):
        try:
            if await start_producer(producer, stopping):
                started["kafka"] = Check(True, "connected")
                loops = (_bridge(role, redis, producer), _pump(role, producer), _executor(role, producer))
                await run_together(loops, stopping)
        finally:
            await stop_producer(producer)
            await redis.aclose()


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


def _pump(role: Role, producer: Any) -> RetryPump:
    settings, metrics = role.settings, role.metrics
    return RetryPump(
        membership(settings, "retry", **RELAY_OPTIONS),
        producer,
        settings.topics(),
        delays_s=settings.cluster_retry_delays_seconds,
        metrics=RetryMetrics(
            relayed=lambda tier: metrics.counter(defs.RETRIES_RELAYED, tier=str(tier)),
            waiting=metrics.gauge(defs.RETRIES_WAITING),
        ),
    )


def _executor(role: Role, producer: Any) -> RequeueExecutor:
    settings, metrics = role.settings, role.metrics
    return RequeueExecutor(
        membership(settings, "requeue", **RELAY_OPTIONS),
        producer,
        settings.topics(),
        rate_per_second=settings.requeue_rate_per_second,
        metrics=RequeueMetrics(
            requeued=metrics.counter(defs.REQUEUED),
            invalid=metrics.counter(defs.ACTIONS_INVALID),
            waiting=metrics.gauge(defs.ACTIONS_WAITING),
        ),
    )
