"""What every role has: settings, logs, metrics, and the ops server with its readiness."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from app.roles.shutdown import Shutdown
from app.settings import Settings
from app.telemetry.health import Readiness
from app.telemetry.logging import configure_logging
from app.telemetry.metrics import Metrics
from app.telemetry.ops_server import OpsServer


@dataclass(frozen=True)
class Role:
    """A role that is about to run in this process."""

    name: str
    settings: Settings
    metrics: Metrics

    @classmethod
    def prepare(cls, name: str, settings: Settings) -> Role:
        """Set up logs and metrics; once a process."""
        configure_logging(settings.log_level, settings.app_name, name)
        return cls(name, settings, Metrics(settings.prometheus_multiproc_dir))

    @contextlib.asynccontextmanager
    async def operated(self, readiness: Readiness) -> AsyncIterator[None]:
        """Serve /metrics, /healthz and /readyz while the block runs, unless WORKER_METRICS_ENABLED is false."""
        if not self.settings.worker_metrics_enabled:
            yield
            return
        server = OpsServer(
            self.settings.worker_metrics_host, self.settings.worker_metrics_port, readiness, metrics=self.metrics
        )
        await server.start()
        try:
            yield
        finally:
            await server.stop()


def stop_signal(seconds: float) -> asyncio.Event:
    """An event that SIGTERM or SIGINT sets; call it on the loop that waits for it.

    `seconds`: after which the process ends without waiting any longer; see app.roles.shutdown.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    Shutdown(seconds).install(lambda: on_loop(loop, stopping.set))
    return stopping


def on_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    """Have `loop` call it, from another thread. A loop that is closed has nothing left to stop."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call)
