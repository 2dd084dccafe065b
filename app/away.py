"""What an operator is told when Postgres, Kafka or Redis does not answer a command: which address of which setting.

Used by `app.commands`, and by the modules of commands that have more to say, or an exit code of their own.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

import asyncpg
from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError, NodeNotReadyError
from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.settings import Settings
from projections.away import POSTGRES_ERRORS
from schemas.errors import StopProcess

STORE_ERRORS: Final = (KafkaError, RedisError, *POSTGRES_ERRORS)

_NOT_REACHED: Final = (
    KafkaConnectionError,
    KafkaTimeoutError,
    NodeNotReadyError,
    RedisConnectionError,
    RedisTimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.InterfaceError,
    OSError,
    TimeoutError,
)
_OF_A_FILE: Final = (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EFBIG)
"""Of writing to a file that was opened before, or to a pipe: such an error names no file."""


@contextmanager
def stores_told(settings: Settings, advice: str = "") -> Iterator[None]:
    """Turns what a client raises into StopProcess with one line, and `advice` behind it. Other errors pass."""
    try:
        yield
    except STORE_ERRORS as error:
        if (said := told(settings, error)) is None:
            raise
        raise StopProcess(said + advice) from error


def told(settings: Settings, error: BaseException) -> str | None:
    """One line: who, at which address of which setting, and what it did; None when it is no error of a store.

    A plain OSError is one of connecting to Postgres, for asyncpg lets them through, unless it is about a file.
    """
    if isinstance(error, OSError) and (error.filename is not None or error.errno in _OF_A_FILE):
        return None
    if not isinstance(error, STORE_ERRORS):
        return None
    reached = isinstance(error, AuthenticationError) or not isinstance(error, _NOT_REACHED)
    what = "refuses" if reached else "cannot be reached"
    name, said = type(error).__name__, " ".join(str(error).split())
    detail = said if said.startswith(name) else f"{name}: {said}".rstrip(": ")  # aiokafka's say their name themselves
    return f"{_place(settings, error)} {what}: {detail}"


def _place(settings: Settings, error: BaseException) -> str:
    if isinstance(error, KafkaError):
        return kafka_place(settings)
    if isinstance(error, RedisError):
        return f"Redis at REDIS_URL={shown(settings.redis_url.get_secret_value())}"
    return f"Postgres at DATABASE_URL={shown(settings.database_url.get_secret_value())}"


def kafka_place(settings: Settings) -> str:
    """Kafka, with the address and its setting."""
    return f"Kafka at KAFKA_BOOTSTRAP_SERVERS={settings.kafka_bootstrap_servers}"


def shown(url: str) -> str:
    """Scheme, host, port and path of a URL: neither user, password nor query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
