"""The operators' server over real HTTP: metrics of one and of several processes, health, readiness."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from app.telemetry import metric_defs as defs
from app.telemetry.health import Check, Readiness, ping_checks
from app.telemetry.metrics import Metrics
from app.telemetry.ops_server import OpsServer
from app.views.peers import PeerReadiness
from tests.contract.web_rig import nowhere

ROOT = Path(__file__).parents[2]


async def all_well() -> dict[str, Check]:
    return {"kafka": Check(True, "reachable")}


@asynccontextmanager
async def running(readiness: Readiness, metrics: Metrics | None = None) -> AsyncIterator[str]:
    server = OpsServer("127.0.0.1", 0, readiness, metrics=metrics or Metrics())
    await server.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        await server.stop()
        await server.stop()


async def get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text()


async def test_healthz_answers_whatever_is_not_ready() -> None:
    async def starting() -> dict[str, Check]:
        return {"tables": Check(False, "recovering 3 of 9")}

    async with running(starting) as url:
        assert await get(f"{url}/healthz") == (200, '{"status":"ok"}')
        checks = '{"tables":{"ok":false,"detail":"recovering 3 of 9"}}'
        expected = f'{{"status":"not_ready","failing":["tables"],"checks":{checks}}}'
        assert await get(f"{url}/readyz") == (503, expected)


async def test_readyz_tells_each_check() -> None:
    async with running(all_well) as url:
        expected = '{"status":"ready","failing":[],"checks":{"kafka":{"ok":true,"detail":"reachable"}}}'
        assert await get(f"{url}/readyz") == (200, expected)


async def test_a_readiness_that_fails_is_not_ready() -> None:
    async def broken() -> dict[str, Check]:
        raise RuntimeError("hush")

    async with running(broken) as url:
        status, body = await get(f"{url}/readyz")
        assert status == 503
        assert "RuntimeError" in body
        assert "hush" not in body


async def test_a_ping_that_fails_is_told_by_its_type_only() -> None:
    async def refused() -> None:
        raise ConnectionRefusedError("10.0.0.1 hush")

    async def fine() -> None:
        return None

    checks = await ping_checks({"redis": refused, "postgres": fine}, 5)
    assert checks == {
        "redis": Check(False, "unavailable: ConnectionRefusedError"),
        "postgres": Check(True, "reachable"),
    }


async def test_metrics_have_the_contracts_names_and_labels() -> None:
    metrics = Metrics()
    metrics.counter(defs.JOBS_PROCESSED, result="success").inc()
    metrics.histogram(defs.JOB_SECONDS).observe(0.3)
    metrics.gauge(defs.PENDING_JOBS).set(4)
    metrics.gauge(defs.STREAM_LAG).set(1.5)
    async with running(all_well, metrics) as url:
        status, text = await get(f"{url}/metrics")
    lines = text.splitlines()
    assert status == 200
    for line in (
        'media_cluster_jobs_processed_total{result="success"} 1.0',
        'media_cluster_jobs_processed_total{result="dead_letter"} 0.0',
        'media_cluster_job_processing_seconds_bucket{le="0.25"} 0.0',
        'media_cluster_job_processing_seconds_bucket{le="0.5"} 1.0',
        "media_cluster_pending_jobs 4.0",
        "media_cluster_stream_lag_seconds 1.5",
    ):
        assert line in lines
    assert any(line.startswith('media_cluster_jobs_processed_created{result="success"}') for line in lines)
    assert any(line.startswith("python_info") for line in lines)
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)


def test_every_metric_is_named_once_and_explained() -> None:
    names = [definition.name for definition in defs.ALL]
    assert len(set(names)) == len(names)
    assert all(definition.meaning.endswith(".") for definition in defs.ALL)


def test_one_role_counts_all_dead_letters() -> None:
    """Each letter is counted once, whichever role sent it."""
    roles = {path.stem for path in (ROOT / "app" / "roles").glob("*.py") if "defs.DEAD_LETTERS" in path.read_text()}
    assert roles == {"project"}, "its meaning says that the projector counts"
    assert "all roles" in defs.DEAD_LETTERS.meaning
    assert "projector" in defs.DEAD_LETTERS.meaning


def test_wrong_labels_are_refused() -> None:
    with pytest.raises(ValueError):
        Metrics().counter(defs.JOBS_PROCESSED, outcome="success")


def test_several_processes_are_told_as_one(tmp_path: Path) -> None:
    """Each process counts; a later one tells the sums, and a dead one's gauges are forgotten."""
    head = f"""
import os
from pathlib import Path
from app.telemetry import metric_defs as defs
from app.telemetry.metrics import Metrics, forget_process
folder = Path({str(tmp_path)!r})
metrics = Metrics(folder)
"""
    count = (
        head
        + """
metrics.counter(defs.JOBS_PROCESSED, result="success").inc(2)
metrics.gauge(defs.PENDING_JOBS).set(3)
metrics.histogram(defs.JOB_SECONDS).observe(0.3)
print(os.getpid())
"""
    )
    pids = [_python(count, tmp_path).strip() for _ in range(2)]
    tell = head + f"forget_process({pids[0]}, folder); print(metrics.exposition().decode())"
    lines = _python(tell, tmp_path).splitlines()
    assert 'media_cluster_jobs_processed_total{result="success"} 4.0' in lines
    assert "media_cluster_job_processing_seconds_count 2.0" in lines
    assert "media_cluster_pending_jobs 3.0" in lines
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)


async def test_a_peers_checks_are_included_and_a_silent_one_fails() -> None:
    async with running(all_well) as url:
        silent = nowhere()
        checks = await PeerReadiness([f"fold={url}/readyz", f"http://{silent}/readyz"])()
    assert checks["fold.kafka"] == Check(True, "reachable")
    assert not checks[silent].ok
    assert len(checks) == 2


def _python(code: str, multiprocess_dir: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(multiprocess_dir)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout
