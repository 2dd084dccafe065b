"""All roles on one machine, each a process under the supervisor: what `make demo` and `make up` run."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

from app.local.supervisor import Role, run_roles
from app.settings import Settings
from app.telemetry.logging import configure_logging
from app.telemetry.metrics import forget_process

ROLES = ("web", "bridge", "embed", "fold", "project")
KILL_MARGIN_SECONDS = 5.0
"""How much longer than SHUTDOWN_SECONDS the supervisor waits before it kills a role."""


def run(settings: Settings) -> int:
    """Run until SIGTERM. Returns the exit code.

    Role n serves its metrics on WORKER_METRICS_PORT + n; each shows the metrics of all, and the API's /readyz includes
    the checks of all.
    """
    configure_logging(settings.log_level, settings.app_name, "supervisor")
    metrics_dir = settings.data_dir / "metrics"
    shutil.rmtree(metrics_dir, ignore_errors=True)  # values of an earlier run
    metrics_dir.mkdir(parents=True)
    roles = [_role(settings, name, metrics_dir) for name in ROLES]
    supervised = run_roles(
        roles,
        stop_timeout=settings.shutdown_seconds + KILL_MARGIN_SECONDS,
        on_exit=lambda pid: forget_process(pid, metrics_dir),
    )
    return asyncio.run(supervised)


def _role(settings: Settings, name: str, metrics_dir: Path) -> Role:
    env = {
        "WORKER_METRICS_PORT": str(_port(settings, name)),
        "PROMETHEUS_MULTIPROC_DIR": str(metrics_dir),
        # One thread of BLAS is enough for the fold, and leaves the cores to the decoders.
        "OPENBLAS_NUM_THREADS": os.environ.get("OPENBLAS_NUM_THREADS", "1"),
    }
    if name == "web" and settings.worker_metrics_enabled:
        host = "127.0.0.1" if settings.worker_metrics_host == "0.0.0.0" else settings.worker_metrics_host
        peers = [f"{peer}=http://{host}:{_port(settings, peer)}/readyz" for peer in ROLES if peer != "web"]
        env["READYZ_PEERS"] = ",".join(peers)
    return Role(name, [sys.executable, "-m", "app", name], env)


def _port(settings: Settings, name: str) -> int:
    return settings.worker_metrics_port + ROLES.index(name)
