"""The real API on a free port, over a real Postgres and Redis, with the real producer. For tests over HTTP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from agents.pet_keys import PetKeys
from app.answers import current_answers
from app.dead_letters.desk import LetterDesk
from app.decisions.desk import DecisionDesk
from app.purges.desk import PurgeDesk
from app.telemetry.metrics import Metrics
from app.views.peers import PeerReadiness
from app.views.producer import CommandProducer
from app.views.sealing import KEYS_FETCH_MS, CurrentKeys
from app.views.services import WebServices
from app.views.unread import UnreadPool, UnreadReader, unread_stores
from app.views.web_app import create_web_app
from projections.cache import AnswerCache
from projections.dead_letter_reader import LetterReader
from projections.decision_reader import DecisionReader
from projections.history import HistoryReader
from projections.pool import create_pool
from projections.postgres import Applied, apply_version
from projections.purges import PurgeRecords
from projections.read_through import ReadThrough
from projections.reader import ClusterReader
from projections.rebuild_progress import ProgressBoard
from projections.similar.search import SimilarReader
from schemas.topics import Topics
from schemas.versions import PetVersion

TOKEN: Final = "s3cret-token"
PREVIOUS_TOKEN: Final = "the-one-before"
MAX_BODY: Final = 10_000
TIMEOUT_SECONDS: Final = 2.0
REDIS_CONNECTIONS: Final = 8
WAIT_SECONDS: Final = 0.2
DEADLINE_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Reply:
    """Status, headers and the very bytes."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Stores:
    """Where the API's stores are. An address nobody listens on is a store that is down."""

    database_url: str
    redis_url: str
    bootstrap_servers: str
    topics: Topics


@dataclass
class Api:
    """A running API and the doors to what stands behind it."""

    session: aiohttp.ClientSession
    pool: Any
    redis: Any
    answers: ReadThrough
    metrics: Metrics
    database_url: str
    topics: Topics
    kafka_ping: Callable[[], Awaitable[bool]]

    async def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        token: str | None = TOKEN,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request; JSON is the content type of a body unless `headers` say otherwise."""
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if token is not None:
            sent["X-Internal-Token"] = token
        sent.update(headers or {})
        async with self.session.request(method, path, data=body, headers=sent, allow_redirects=False) as response:
            return Reply(response.status, response.headers, await response.read())

    async def until_submitting(self) -> None:
        """Until the producer has a broker; before that, everything that needs Kafka is answered with 503."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not await self.kafka_ping():  # noqa: ASYNC110 - the producer tells nobody
                await asyncio.sleep(0.02)

    async def project(self, version: PetVersion) -> None:
        """Write a version to Postgres as the projector does."""
        async with self.pool.acquire() as connection, connection.transaction():
            assert isinstance(await apply_version(connection, version), Applied)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def nowhere() -> str:
    """host:port of a server that is down."""
    return f"127.0.0.1:{free_port()}"


@asynccontextmanager
async def serving(
    stores: Stores,
    data_dir: Path,
    *,
    pages: bool = False,
    peers: tuple[str, ...] = (),
    read_postgres: bool = True,
    read_redis: bool = True,
    cache_seconds: float = TIMEOUT_SECONDS,
    store_seconds: float = TIMEOUT_SECONDS,
    decision_seconds: float = WAIT_SECONDS,
    similarity_tokens: tuple[str, ...] = (),
) -> AsyncIterator[Api]:
    """The API, started and stopped as its command does it. `cache_seconds`, `store_seconds`: of reads of clusters;
    `decision_seconds`: how long what becomes of a decision is waited for.
    """
    metrics, port = Metrics(), free_port()
    # Fails at once when Redis is away, as the service's own client does.
    redis: Any = Redis.from_url(
        stores.redis_url, retry=Retry(NoBackoff(), 0), socket_connect_timeout=2, max_connections=REDIS_CONNECTIONS
    )
    pool = create_pool(stores.database_url, size=4, statement_timeout_ms=20_000, ssl_mode="disable")
    producer = CommandProducer(
        stores.bootstrap_servers, stores.topics, timeout=TIMEOUT_SECONDS, clock=_now, client_id="media-web-test"
    )
    keys = CurrentKeys(
        PetKeys(bootstrap_servers=stores.bootstrap_servers, topic=stores.topics.pet_keys.name, fetch_ms=KEYS_FETCH_MS),
        timeout=TIMEOUT_SECONDS,
    )
    async with pool:
        store = pool if read_postgres else UnreadPool()
        reader = ClusterReader(pool) if read_postgres else UnreadReader()
        cache = AnswerCache(redis, namespace="test.clusters", ttl_seconds=600, get_seconds=cache_seconds)
        answers, own_writes = current_answers(
            reader,
            cache if read_redis else None,
            cache_seconds=cache_seconds,
            store_seconds=store_seconds,
            metrics=metrics,
        )
        services = WebServices(
            answers=answers,
            own_writes=own_writes,
            reader=reader,
            history=HistoryReader(store),
            similar=SimilarReader(store),
            cache=cache,
            submit=producer.submit,
            letters=LetterDesk(
                LetterReader(store),
                producer.send,
                topics=stores.topics,
                clock=_now,
                ce_source="/web",
                timeout=TIMEOUT_SECONDS,
            ),
            purges=PurgeDesk(
                PurgeRecords(pool),
                producer.send,
                topics=stores.topics,
                clock=_now,
                ce_source="/web",
                timeout=TIMEOUT_SECONDS,
            ),
            decisions=DecisionDesk(
                DecisionReader(store),
                own_writes,
                producer.send,
                keys.current,
                topics=stores.topics,
                clock=_now,
                ce_source="/web",
                timeout=TIMEOUT_SECONDS,
                wait=decision_seconds,
            ),
            redis_ping=redis.ping,
            kafka_ping=producer.ping,
            clock=_now,
            rebuilds=ProgressBoard(redis, "test.clusters").list,
            peers=PeerReadiness(peers),
            timeout=TIMEOUT_SECONDS,
            wait=WAIT_SECONDS,
            similarity_tokens=similarity_tokens,
            unread=unread_stores(postgres=read_postgres, redis=read_redis),
            metrics=metrics,
        )
        app = create_web_app(
            services,
            host="127.0.0.1",
            port=port,
            tokens=(TOKEN, PREVIOUS_TOKEN),
            title="Test API",
            max_body_bytes=MAX_BODY,
            data_dir=data_dir,
            pages=pages,
            lifespan=(producer, keys, answers),
        )
        await app.start()
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
                yield Api(session, pool, redis, answers, metrics, stores.database_url, stores.topics, producer.ping)
        finally:
            await app.stop()
            await redis.aclose()


def _now() -> datetime:
    return datetime.now(UTC)
