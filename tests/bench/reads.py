"""Benchmark `reads`: GET of a pet's current clusters from one process at 16 connections, against a bare page of Faust's
and one of aiohttp's that return the same bytes.

In turns, in rounds; the client has a process's core of its own where there are two.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
from rich.console import Console
from rich.progress import Progress

from app.local.ports import HOST, free_port
from tests.bench.http_load import Load, get, load
from tests.bench.report import Quantiles, Report
from tests.bench.rig import Rig, alive, rig
from tests.e2e.service import REPOSITORY, TOKEN, wait_for
from tests.photos import photo_path

CONNECTIONS: Final = 16
ROUNDS: Final = 5
SECONDS: Final = 3.0
"""Of each server in each round."""
IMAGES: Final = 12
_PET: Final = "pet_123"
_MILLI: Final = 1e3


@dataclass
class Server:
    """Something that is measured, and what came of it."""

    name: str
    port: int
    request: bytes
    loads: list[Load] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers a second, the median of the rounds."""
        return statistics.median(each.rate for each in self.loads)

    @property
    def latencies(self) -> Quantiles:
        """Milliseconds, of all rounds."""
        return Quantiles.of([latency * _MILLI for each in self.loads for latency in each.latencies])


def run(console: Console) -> list[Report]:
    """About a minute and a half."""
    with rig({"EMBEDDING_CONSTANT_TIME_MS": "0"}) as bench, Progress(console=console, transient=True) as progress:
        bench.service.start()
        body = asyncio.run(_answer(bench))
        for role in ("bridge", "embed", "fold", "project"):
            bench.service.stop(role)
        with _pages(bench, body) as pages:
            ours = get(f"/internal/pets/{_PET}/clusters", {"X-Internal-Token": TOKEN})
            servers = [Server("GET …/clusters", bench.service.web_port, ours)]
            servers += [Server(f"a bare page of {kind}", port, get("/page", {})) for kind, port in pages.items()]
            asyncio.run(_measure(bench, servers, progress))
    return [_report(servers, len(body))]


async def _answer(bench: Rig) -> bytes:
    """The bytes of an album's answer, which is cached then."""
    image_ids = [f"{_PET}_{number}" for number in range(IMAGES)]
    for number, image_id in enumerate(image_ids):
        name = ("astronaut.png", "coffee.png", "chelsea.png")[number % 3]
        (bench.images / f"{image_id}.jpg").write_bytes(photo_path(name).read_bytes())
    bench.service.publish(_PET, "job_1", image_ids)
    await bench.service.job("job_1")
    await bench.service.clusters(_PET)
    url = f"http://{HOST}:{bench.service.web_port}/internal/pets/{_PET}/clusters"
    async with aiohttp.ClientSession(headers={"X-Internal-Token": TOKEN}) as session, session.get(url) as response:
        assert "hit" in response.headers["Cache-Status"], "it is measured from the cache"
        return await response.read()


@contextlib.contextmanager
def _pages(bench: Rig, body: bytes) -> Iterator[dict[str, int]]:
    """Kind → port of the bare pages."""
    file = bench.images.parent / "answer.json"
    file.write_bytes(body)
    with contextlib.ExitStack() as stack:
        ports = {kind: stack.enter_context(_page(kind, file)) for kind in ("faust", "aiohttp")}
        yield ports


@contextlib.contextmanager
def _page(kind: str, file: Path) -> Iterator[int]:
    port = free_port()
    argv = [sys.executable, "-m", "tests.bench.bare_page", kind, str(port), str(file)]
    process = subprocess.Popen(argv, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: asyncio.run(_answers(port)), f"the page of {kind}")
        yield port
    finally:
        process.terminate()
        process.wait(timeout=30)


async def _answers(port: int) -> bool:
    try:
        await load(HOST, port, get("/page", {}), connections=1, seconds=0.01)
    except (OSError, RuntimeError):
        return False
    return True


async def _measure(bench: Rig, servers: list[Server], progress: Progress) -> None:
    task = progress.add_task("rounds", total=ROUNDS * len(servers))
    for number in range(ROUNDS + 1):
        for server in servers:
            alive(bench.service)
            measured = await load(HOST, server.port, server.request, connections=CONNECTIONS, seconds=SECONDS)
            if number:  # the first one warms up
                server.loads.append(measured)
                progress.advance(task)


def _report(servers: list[Server], size: int) -> Report:
    _, faust, _ = servers
    rows = []
    for server in servers:
        took = server.latencies
        rows.append((server.name, server.rate, server.rate / faust.rate, took.p50, took.p90, took.p99))
    return Report(
        f"reads: GET of current clusters, one process, {CONNECTIONS} connections",
        ("", "answers/s", "× bare Faust", "p50 ms", "p90 ms", "p99 ms"),
        tuple(rows),
        (
            f"{size:,} bytes an answer; {ROUNDS} rounds of {SECONDS:.0f} s each, in turns, after one to warm up",
            "rates: the median of the rounds; times: of all answers",
            "goals: 8,000/s, p99 8 ms, 0.6 × a bare page of Faust's",
        ),
    )
