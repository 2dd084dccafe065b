"""The web role: the HTTP API. Starts and answers reads with Kafka down."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import structlog
from mode import Service

from agents.pet_keys import PetKeys
from app.answers import current_answers
from app.clients import STOP_SECONDS, open_pool, open_redis
from app.dead_letters.desk import LetterDesk
from app.decisions.desk import DecisionDesk
from app.purges.desk import PurgeDesk
from app.roles.faust_worker import RoleWorker
from app.roles.role import Role
from app.settings import Settings
from app.telemetry.health import Check
from app.views.health import readiness
from app.views.peers import PeerReadiness
from app.views.producer import CE_SOURCE, CommandProducer
from app.views.sealing import KEYS_FETCH_MS, CurrentKeys
from app.views.services import WebServices
from app.views.unread import UnreadPool, UnreadReader, unread_stores
from app.views.web_app import create_web_app
from projections.cache import AnswerCache
from projections.dead_letter_reader import LetterReader
from projections.decision_reader import DecisionReader
from projections.history import HistoryReader
from projections.purges import PurgeRecords
from projections.reader import ClusterReader
from projections.rebuild_progress import ProgressBoard
from projections.similar.search import SimilarReader
from projections.within import within

log = structlog.get_logger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


class _Clients(Service):
    """Opens the pool before the API answers and closes it behind the last answer."""

    def __init__(self, pool: Any, redis: Any, role: Role, services: WebServices, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._pool = pool
        self._redis = redis
        self._role = role
        self._services = services
        self._operated: Any = None

    async def on_start(self) -> None:
        await self._pool
        self._operated = self._role.operated(self._readiness)
        await self._operated.__aenter__()

    async def on_stop(self) -> None:
        if self._operated is not None:
            await self._operated.__aexit__(None, None, None)
        try:
            await within(STOP_SECONDS, self._pool.close())
        except TimeoutError:  # it waits for a server that answers nothing
            self._pool.terminate()
        await self._redis.aclose()

    async def _readiness(self) -> dict[str, Check]:
        return await readiness(self._services)


def run(settings: Settings) -> None:
    """Run until SIGTERM."""
    role = Role.prepare("web", settings)
    redis, pool = open_redis(settings), open_pool(settings)
    producer = CommandProducer(
        settings.kafka_bootstrap_servers,
        settings.topics(),
        timeout=settings.web_store_timeout_seconds,
        clock=_now,
        client_id="media-web",
    )
    keys = CurrentKeys(
        PetKeys(
            bootstrap_servers=settings.kafka_bootstrap_servers,
            topic=settings.topics().pet_keys.name,
            client_id="media-web-keys",
            fetch_ms=KEYS_FETCH_MS,
        ),
        timeout=settings.web_store_timeout_seconds,
    )
    log.info("switches", **settings.switches())
    store = pool if settings.read_postgres else UnreadPool()
    reader = ClusterReader(pool) if settings.read_postgres else UnreadReader()
    cache = AnswerCache(
        redis,
        namespace=settings.namespace,
        ttl_seconds=settings.cluster_ttl_seconds,
        get_seconds=settings.web_cache_timeout_seconds,
    )
    answers, own_writes = current_answers(
        reader,
        cache if settings.read_redis else None,
        cache_seconds=settings.web_cache_timeout_seconds,
        store_seconds=settings.web_store_timeout_seconds,
        metrics=role.metrics,
    )
    writes: dict[str, Any] = {
        "topics": settings.topics(),
        "clock": _now,
        "ce_source": CE_SOURCE,
        "timeout": settings.web_store_timeout_seconds,
    }
    services = WebServices(
        answers=answers,
        own_writes=own_writes,
        reader=reader,
        history=HistoryReader(store),
        similar=SimilarReader(store),
        cache=cache,
        submit=producer.submit,
        letters=LetterDesk(LetterReader(store), producer.send, **writes),
        purges=PurgeDesk(PurgeRecords(store), producer.send, **writes),
        decisions=DecisionDesk(
            DecisionReader(store),
            own_writes,
            producer.send,
            keys.current,
            **writes,
            wait=settings.web_decision_wait_seconds,
        ),
        redis_ping=redis.ping,
        kafka_ping=producer.ping,
        clock=_now,
        rebuilds=ProgressBoard(redis, settings.namespace).list,
        peers=PeerReadiness(settings.readyz_peers),
        unread=unread_stores(postgres=settings.read_postgres, redis=settings.read_redis),
        timeout=settings.web_store_timeout_seconds,
        similarity_tokens=settings.similarity_tokens(),
        metrics=role.metrics,
    )
    app = create_web_app(
        services,
        host=settings.web_host,
        port=settings.web_port,
        tokens=settings.tokens(),
        title=settings.app_name,
        max_body_bytes=settings.web_max_body_bytes,
        data_dir=settings.data_dir / f"web-{settings.worker_id}",
        pages=settings.environment == "development",
        lifespan=(producer, keys, answers),
    )
    app.finalize()
    worker = RoleWorker(app, _Clients(pool, redis, role, services), shutdown_seconds=settings.shutdown_seconds)
    worker.execute_from_commandline()
