"""The projector role: versions and job messages → Postgres and the answer cache; beside it sweeper and retention, and
the similarity index where it is on.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from aiokafka import ConsumerRecord

from agents.pet_keys import PetKeys
from app.clients import PING_SECONDS, create_producer, open_pool, open_redis, start_producer, stop_producer
from app.faust_apps import group_id
from app.fold_generations import read_standing
from app.roles.loops import run_together
from app.roles.membership import membership
from app.roles.role import Role, stop_signal
from app.settings import Settings
from app.telemetry import metric_defs as defs
from app.telemetry.health import Check, ping_check
from projections.cache import AnswerCache
from projections.frontier import Groups
from projections.gap_replay import LogVersions
from projections.retention import Retention, RetentionMetrics
from projections.runner import Projector
from projections.similar.indexer import SimilarIndexer
from projections.similar.telemetry import SimilarMetrics
from projections.sweeper import Sweeper, SweeperMetrics
from projections.telemetry import ProjectorMetrics
from projections.unprojected import send_unprojected

log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Run until SIGTERM."""
    asyncio.run(_run(Role.prepare("project", settings)))


async def _run(role: Role) -> None:
    stopping = stop_signal(role.settings.shutdown_seconds)
    settings = role.settings
    log.info("switches", **settings.switches())
    if not settings.project_postgres:
        await _rest(role, stopping)
        return
    redis, pool = open_redis(settings), open_pool(settings)
    producer = create_producer(settings, "media-project")
    keys = PetKeys(bootstrap_servers=settings.kafka_bootstrap_servers, topic=settings.topics().pet_keys.name)
    projector, sweeper = _projector(role, redis, pool, producer, keys), _sweeper(role, pool, producer)
    retention = _retention(role, pool)
    similar = _similar(role, pool, keys) if settings.similarity else None

    async def readiness() -> dict[str, Check]:
        return {
            "redis": await redis_check(settings, redis),
            "postgres": await ping_check(lambda: pool.fetchval("SELECT 1"), PING_SECONDS),
            "projector": Check(projector.ready, projector.waits_for or reading(projector.to_refresh)),
            "sweeper": beside_check(sweeper.waits_for, "sweeping"),
            "retention": beside_check(retention.waits_for, "trimming"),
            **({} if similar is None else {"similar": beside_check(similar.waits_for, indexing(similar.behind))}),
        }

    async with role.operated(readiness), pool:
        try:
            if await start_producer(producer, stopping):
                beside = (sweeper, retention) if similar is None else (sweeper, retention, similar)
                await run_together((projector, *beside), stopping)
        finally:
            await keys.stop()
            await stop_producer(producer)
            await redis.aclose()


async def _rest(role: Role, stopping: asyncio.Event) -> None:
    """Touch neither Kafka nor a store until `stopping`; positions stay where they are."""

    async def readiness() -> dict[str, Check]:
        return {"projector": Check(True, "resting: PROJECT_POSTGRES is false")}

    async with role.operated(readiness):
        await stopping.wait()


async def redis_check(settings: Settings, redis: Any) -> Check:
    """Whether Redis answers; a Redis that is not written need not."""
    if not settings.project_redis:
        return Check(True, "not written: PROJECT_REDIS is false")
    return await ping_check(redis.ping, PING_SECONDS)


def reading(to_refresh: int) -> str:
    """What a projector that waits for nothing does."""
    return f"reading; {to_refresh} versions not in Redis yet" if to_refresh else "reading"


def indexing(behind: int) -> str:
    """What a similarity index that waits for nothing does."""
    return f"indexing; {behind} facts of the log not read yet" if behind else "indexing"


def beside_check(waits_for: str, does: str) -> Check:
    """Always ok: the rows go on without the loops beside the projector, and what those look for can wait."""
    return Check(True, f"waiting for {waits_for}" if waits_for else does)


def _projector(role: Role, redis: Any, pool: Any, producer: Any, keys: PetKeys) -> Projector:
    settings, metrics = role.settings, role.metrics
    replay = LogVersions(bootstrap_servers=settings.kafka_bootstrap_servers, topics=settings.topics(), keys=keys)

    async def dead_letter(record: ConsumerRecord, reason: str) -> None:
        await send_unprojected(producer, settings.topics(), record, reason)

    cache = AnswerCache(redis, namespace=settings.namespace, ttl_seconds=settings.cluster_ttl_seconds)
    return Projector(
        membership=membership(settings, "project"),
        topics=settings.topics(),
        pool=pool,
        cache=cache if settings.project_redis else None,
        replay=replay.replay,
        dead_letter=dead_letter,
        metrics=ProjectorMetrics(
            versions_applied=metrics.counter(defs.VERSIONS_APPLIED),
            versions_ignored=metrics.counter(defs.VERSIONS_SKIPPED),
            gaps=metrics.counter(defs.PROJECTION_GAPS),
            dead_letters=lambda subject: metrics.counter(defs.DEAD_LETTERS, subject=subject),
            decisions=lambda kind, outcome: metrics.counter(defs.DECISIONS, kind=kind, outcome=outcome),
            unreadable_letters=metrics.counter(defs.UNREADABLE_LETTERS),
            open_letters=metrics.gauge(defs.OPEN_LETTERS),
            cache_errors=metrics.counter(defs.CACHE_FAILURES, operation="refresh"),
            pets_purged=metrics.counter(defs.PETS_PURGED),
            versions_replayed=metrics.counter(defs.VERSIONS_REPLAYED),
            job_messages=metrics.counter(defs.JOB_MESSAGES),
            postgres_errors=metrics.counter(defs.POSTGRES_ERRORS),
            stale_pets=metrics.gauge(defs.STALE_PETS),
            readable_seconds=metrics.histogram(defs.READABLE_SECONDS),
            batch_seconds=metrics.histogram(defs.PROJECTION_SECONDS),
        ),
    )


def _sweeper(role: Role, pool: Any, producer: Any) -> Sweeper:
    settings, metrics = role.settings, role.metrics

    async def fold_group() -> str:
        return group_id(settings, "fold", (await read_standing(settings)).live.generation)

    return Sweeper(
        pool=pool,
        producer=producer,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        topics=settings.topics(),
        groups=Groups(embed=group_id(settings, "embed"), fold=fold_group, retry=group_id(settings, "retry")),
        deadline_s=settings.sweep_deadline_seconds,
        interval_s=settings.sweep_interval_seconds,
        rate_per_s=settings.sweep_rate_per_second,
        metrics=SweeperMetrics(swept=metrics.counter(defs.SWEPT), errors=metrics.counter(defs.SWEEP_ERRORS)),
    )


def _similar(role: Role, pool: Any, keys: PetKeys) -> SimilarIndexer:
    settings, metrics = role.settings, role.metrics
    return SimilarIndexer(
        pool=pool,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        topics=settings.topics(),
        keys=keys,
        metrics=SimilarMetrics(
            photos=metrics.counter(defs.SIMILAR_PHOTOS),
            directions=metrics.counter(defs.SIMILAR_DIRECTIONS),
            errors=metrics.counter(defs.SIMILAR_ERRORS),
            lag=metrics.gauge(defs.SIMILAR_LAG),
            rows=metrics.gauge(defs.SIMILAR_ROWS),
            batch_seconds=metrics.histogram(defs.SIMILAR_SECONDS),
        ),
    )


def _retention(role: Role, pool: Any) -> Retention:
    settings, metrics = role.settings, role.metrics
    return Retention(
        pool=pool,
        days=settings.retention_days,
        interval_s=settings.retention_interval_seconds,
        metrics=RetentionMetrics(
            removed=lambda table: metrics.counter(defs.RETENTION_REMOVED, table=table),
            seconds=metrics.histogram(defs.RETENTION_SECONDS),
            oldest=metrics.gauge(defs.RETENTION_OLDEST),
            finished=metrics.gauge(defs.RETENTION_FINISHED),
            errors=metrics.counter(defs.RETENTION_ERRORS),
        ),
    )
