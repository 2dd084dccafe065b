"""Verifies one partition in a process of its own. Called by `run.py` through `app.worker_processes`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from agents.pet_keys import open_pet_keys
from app.clients import open_redis
from app.settings import Settings
from projections.cache import AnswerCache
from projections.log_reading import log_consumer
from projections.offsets import LogOffsets
from projections.shadow.runs import Mark
from projections.verify.outcome import Task, Verified
from projections.verify.partition import PartitionCheck
from projections.verify.reading import open_reader


@dataclass(frozen=True, slots=True)
class Job:
    """A task and the way to the servers; may be sent to another process."""

    settings: Settings
    task: Task


async def verify_partition(job: Job, told: Callable[[Mark], None] = lambda mark: None) -> Verified:
    """Open what the task needs, and do it."""
    settings, task = job.settings, job.task
    async with AsyncExitStack() as opened:
        redis = open_redis(settings)
        opened.push_async_callback(redis.aclose)
        connection = await open_reader(settings.database_url.get_secret_value(), settings.database_ssl_mode)
        opened.push_async_callback(connection.close)
        consumer = log_consumer(settings.kafka_bootstrap_servers, task.log, task.changelog)
        opened.push_async_callback(consumer.stop)
        await consumer.start()
        consumer.unsubscribe()
        check = PartitionCheck(
            task,
            consumer=consumer,
            broker=await opened.enter_async_context(LogOffsets(settings.kafka_bootstrap_servers)),
            connection=connection,
            cache=AnswerCache(redis, namespace=settings.namespace, ttl_seconds=settings.cluster_ttl_seconds),
            keys=await opened.enter_async_context(
                open_pet_keys(
                    settings.kafka_bootstrap_servers, settings.topics().pet_keys.name, partition=task.partition
                )
            ),
            told=told,
        )
        return await check.run()
