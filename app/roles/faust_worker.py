"""Runs a Faust app as the process's worker, with the mends, the lease and the ops server."""

from __future__ import annotations

from typing import Any

import faust
from faust.types import AppT
from mode import Service

from agents.faust_mends import seek_where_nothing_is_committed, stop_flow_before_seek
from agents.lease import Lease, install
from app.faust_apps import LEASE_MARGIN_SECONDS
from app.roles.role import Role
from app.telemetry.health import Check


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


def recovery_check(app: AppT) -> Check:
    """Whether the worker has joined its group and its tables are recovered."""
    if app.consumer_generation_id <= 0:
        return Check(False, "joining the consumer group")
    if app.rebalancing or not app.tables.recovery.completed.is_set():
        return Check(False, "recovering tables")
    return Check(True, f"generation {app.consumer_generation_id}, {len(app.consumer.assignment())} partitions")


def run_faust(role: Role, app: AppT, checks: dict[str, Check] | None = None) -> None:
    """Run until SIGTERM. `checks`: what is known to be ready for as long as the process lives. Does not return."""
    stop_flow_before_seek()
    seek_where_nothing_is_committed()
    install(Lease(role.settings.kafka_session_timeout_seconds - LEASE_MARGIN_SECONDS))
    app.finalize()
    worker = faust.Worker(
        app,
        _Operations(role, app, checks or {}),
        override_logging=False,
        redirect_stdouts=False,
        quiet=True,
    )
    worker.execute_from_commandline()
