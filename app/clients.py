"""Opens the clients of Redis, Kafka and Postgres as the settings say. Used by the roles that are not Faust apps."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

import stamina
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError
from redis.asyncio import Redis

from app.settings import Settings
from projections.pool import create_pool
from projections.waiting import Stopped, unless_set
from schemas.topics import MAX_MESSAGE_BYTES

PING_SECONDS: Final = 2.0
"""How long a client may take to answer for its role's readiness."""
STOP_SECONDS: Final = 5.0


def open_redis(settings: Settings, blocks_for_seconds: float = 0.0) -> Redis:
    """A client that does not decode; it connects when first used.

    `blocks_for_seconds`: longest blocking read; a socket timeout below it would end every quiet read as an error.
    """
    timeout = settings.redis_socket_timeout
    options: dict[str, Any] = {
        "username": settings.redis_username,
        "password": settings.redis_password.get_secret_value() if settings.redis_password else None,
        "max_connections": settings.redis_pool_max_connections,
        "socket_timeout": None if timeout is None else max(timeout, blocks_for_seconds + 1.0),
        "socket_connect_timeout": settings.redis_socket_connect_timeout,
        "health_check_interval": settings.redis_healthcheck_interval,
        "retry_on_timeout": settings.redis_retry_on_timeout,
    }
    url = settings.redis_url.get_secret_value()
    if settings.redis_ssl and url.startswith("redis://"):
        url = "rediss://" + url.removeprefix("redis://")
    if settings.redis_ssl_ca_certs is not None:
        options["ssl_ca_certs"] = str(settings.redis_ssl_ca_certs)
    return Redis.from_url(url, **options)


def create_producer(settings: Settings, client_id: str, **options: Any) -> AIOKafkaProducer:
    """An idempotent producer with acks=all, not started. Must be called on the loop that uses it.

    `options`: more of the client's own.
    """
    return AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        client_id=client_id,
        acks="all",
        enable_idempotence=True,
        linger_ms=0,
        max_request_size=MAX_MESSAGE_BYTES,
        **options,
    )


async def start_producer(producer: AIOKafkaProducer, stopping: asyncio.Event) -> bool:
    """Start the producer as soon as there is a broker; False when `stopping` was set before."""
    try:
        await unless_set(stopping, _start(producer))
    except Stopped:
        return False
    return True


@stamina.retry(on=KafkaConnectionError, attempts=None, timeout=None, wait_max=5.0)
async def _start(producer: AIOKafkaProducer) -> None:
    await producer.start()


async def stop_producer(producer: AIOKafkaProducer) -> None:
    """Stop the producer; with Kafka down its flush would never end, and what is unconfirmed is done again anyway."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(producer.stop(), STOP_SECONDS)


def open_pool(settings: Settings) -> Any:
    """An asyncpg pool; it connects when first used."""
    return create_pool(
        settings.database_url.get_secret_value(),
        size=settings.database_pool_size,
        statement_timeout_ms=settings.database_statement_timeout_ms,
        ssl_mode=settings.database_ssl_mode,
    )
