"""Runs a Faust app as the process's worker, with the mends, the lease, the watchdog and the ops server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import faust
from aiokafka.errors import KafkaError
from faust.exceptions import ConsistencyError
from faust.types import AppT
from mode import Service

from agents.abort import abort_process
from agents.delivery import Delivery
from agents.faust_mends import mend_faust
from agents.lease import Lease, install
from agents.pet_keys import PetKeys
from agents.watchdog_service import WatchdogService
from app.faust_apps import LEASE_MARGIN_SECONDS
from app.roles.role import Role, on_loop
from app.roles.shutdown import Shutdown
from app.settings import Settings
from app.telemetry.health import Check
from schemas.errors import StopProcess


class _Operations(Service):
    """The ops server as a service of the worker."""

    def __init__(self, role: Role, app: AppT, extra: dict[str, Check], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._role = role
        self._app = app
        self._extra = extra
        self._context: Any = None

    async def on_start(self) -> None:
        self._context = self._role.operated(self._readiness)
        await self._context.__aenter__()

    async def on_stop(self) -> None:
        if self._context is not None:
            await self._context.__aexit__(None, None, None)

    async def _readiness(self) -> dict[str, Check]:
        return {"recovery": recovery_check(self._app), **self._extra}


class RoleWorker(faust.Worker):
    """Faust's worker with the shutdown of app.roles.shutdown in place of its signal handlers."""

    def __init__(self, app: AppT, *services: Service, shutdown_seconds: float) -> None:
        super().__init__(app, *services, override_logging=False, redirect_stdouts=False, quiet=True)
        self._shutdown_seconds = shutdown_seconds
        self.spinner = None  # it writes control characters between our lines

    def install_signal_handlers(self) -> None:
        """Called by Faust when the worker starts."""
        Shutdown(self._shutdown_seconds).install(lambda: on_loop(self.loop, self._on_sigterm))


@asynccontextmanager
async def pet_keys(settings: Settings, delivery: Delivery) -> AsyncIterator[PetKeys]:
    """The pets' keys, for as long as an agent's body runs. The process ends when they cannot be read at its start."""
    topic = settings.topics().pet_keys.name
    keys = PetKeys(bootstrap_servers=settings.kafka_bootstrap_servers, topic=topic)
    try:
        try:
            await keys.start()
        except (KafkaError, StopProcess) as error:
            delivery.abort(f"the pets' keys cannot be read: {error!r}")
        yield keys
    finally:
        await keys.stop()


def recovery_check(app: AppT) -> Check:
    """Whether the worker has joined its group and its tables are recovered."""
    if app.consumer_generation_id <= 0:
        return Check(False, "joining the consumer group")
    if app.rebalancing or not app.tables.recovery.completed.is_set():
        return Check(False, "recovering tables")
    return Check(True, f"generation {app.consumer_generation_id}, {len(app.consumer.assignment())} partitions")


def run_faust(
    role: Role, app: AppT, delivery: Delivery, checks: dict[str, Check] | None = None, services: Sequence[Service] = ()
) -> None:
    """Run until SIGTERM. Does not return. `checks`: what is known to be ready for as long as the process lives.
    `services`: run beside the app.
    """
    settings = role.settings
    mend_faust()
    lease = Lease(settings.kafka_session_timeout_seconds - LEASE_MARGIN_SECONDS)
    install(lease)
    app.finalize()
    watchdog = WatchdogService(
        app,
        delivery,
        lease,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        seconds=settings.watchdog_seconds,
    )
    operations = _Operations(role, app, checks or {})
    worker = RoleWorker(app, operations, watchdog, *services, shutdown_seconds=settings.shutdown_seconds)
    try:
        worker.execute_from_commandline()
    finally:
        if isinstance(worker.crash_reason, ConsistencyError):
            # Every start would meet it. They are kept: the broker has lost records, and they may be the only copy.
            abort_process(f"local tables ahead of the broker: {' '.join(str(worker.crash_reason).split())}")
