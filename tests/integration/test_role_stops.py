"""A role ends at SIGTERM with exit code 0 even while it still waits for Kafka."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.local.ports import HOST, free_port
from app.local.probe import answers_ok
from app.local.processes import wait_until

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(params=["refuses", "never answers"])
def dead_broker(request: pytest.FixtureRequest) -> Iterator[str]:
    """An address where no broker is: nobody listens, or whoever listens says nothing."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        if request.param == "never answers":
            listener.listen()
        yield f"{HOST}:{listener.getsockname()[1]}"


@pytest.mark.parametrize("role", ["bridge", "project"])
def test_a_role_that_waits_for_kafka_ends_at_sigterm(role: str, dead_broker: str, tmp_path: Path) -> None:
    port = free_port()
    nobody = f"{HOST}:{free_port()}"
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": dead_broker,
        "REDIS_URL": f"redis://{nobody}/0",
        "DATABASE_URL": f"postgresql://postgres@{nobody}/postgres",
        "DATA_DIR": str(tmp_path),
        "WORKER_METRICS_HOST": HOST,
        "WORKER_METRICS_PORT": str(port),
    }
    process = subprocess.Popen([sys.executable, "-m", "app", role], env={**os.environ, **settings}, cwd=REPOSITORY)
    try:
        assert wait_until(lambda: answers_ok(f"http://{HOST}:{port}/healthz"), 60), "the role did not come up"
        process.terminate()
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()
        process.wait()
