"""The small HTTP server that every role runs for operators: /metrics, /healthz and /readyz, without a token.

Bound to WORKER_METRICS_HOST:WORKER_METRICS_PORT; started and stopped by the role's command.
"""

from __future__ import annotations

import structlog
from aiohttp import web

from app.telemetry.health import Check, Readiness, readiness_document
from app.telemetry.metrics import CONTENT_TYPE, Metrics

log = structlog.get_logger(__name__)


class OpsServer:
    """`start()` binds and serves, `stop()` closes. `port` 0 takes a free one; `port` then tells which."""

    def __init__(self, host: str, port: int, readiness: Readiness, *, metrics: Metrics) -> None:
        self._host = host
        self.port = port
        self._readiness = readiness
        self._metrics = metrics
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Raises OSError when the address is taken."""
        server = web.Application()
        server.add_routes(
            [
                web.get("/metrics", self._exposition),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
            ]
        )
        self._runner = web.AppRunner(server, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self.port).start()
        except OSError:
            await self.stop()
            raise
        self.port = self._runner.addresses[0][1]
        log.info("ops_server_started", host=self._host, port=self.port)

    async def stop(self) -> None:
        """Close the server; a second call does nothing."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _exposition(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(body=b'{"status":"ok"}', content_type="application/json")

    async def _readyz(self, _request: web.Request) -> web.Response:
        try:
            checks = await self._readiness()
        except Exception as error:  # a role that cannot tell is not ready, and says so instead of answering 500
            log.exception("readiness_failed")
            checks = {"readiness": Check(False, f"cannot be told: {type(error).__name__}")}
        status, body = readiness_document(checks)
        return web.Response(body=body, status=status, content_type="application/json")
