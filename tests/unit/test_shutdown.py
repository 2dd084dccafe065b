"""How a process ends: its loop may be blocked, so each test runs a process of its own."""

from __future__ import annotations

import inspect
import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from app.local.stack import _STOP_SECONDS
from app.local.supervisor import Supervisor
from app.roles.all import KILL_MARGIN_SECONDS
from app.settings import Settings

REPOSITORY = Path(__file__).parents[2]
END_SECONDS = 20
PRELUDE = """
    import asyncio, sys, time
    from app.roles.role import stop_signal

    async def drains(stopping):
        await stopping.wait()
        print("drained", flush=True)

    async def never_drains(stopping):
        await stopping.wait()
        print("asked", flush=True)
        await asyncio.Event().wait()

    async def blocks(stopping):
        time.sleep(600)

    async def main(work, seconds):
        stopping = stop_signal(seconds)
        print("ready", flush=True)
        await work(stopping)
"""


@contextmanager
def running(work: str, seconds: float) -> Iterator[subprocess.Popen[str]]:
    code = textwrap.dedent(PRELUDE) + f"asyncio.run(main({work}, {seconds}))"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=-1, stderr=-1, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def reason(process: subprocess.Popen[str]) -> str:
    """Wait for the end by exit code 70; what the process said."""
    _, errors = process.communicate(timeout=END_SECONDS)
    assert process.returncode == 70, errors
    said: str = json.loads(errors.splitlines()[-1])["reason"]
    return said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_the_work_to_end(number: signal.Signals) -> None:
    with running("drains", 600) as process:
        process.send_signal(number)
        assert process.communicate(timeout=END_SECONDS)[0].endswith("drained\n")
        assert process.returncode == 0


def test_work_that_does_not_end_is_ended_at_the_deadline() -> None:
    with running("never_drains", 0.5) as process:
        process.terminate()
        assert reason(process).startswith("not stopped within SHUTDOWN_SECONDS (0.5 s)")


def test_a_blocked_loop_does_not_hold_up_the_deadline() -> None:
    with running("blocks", 0.5) as process:
        process.terminate()
        assert reason(process).startswith("not stopped within SHUTDOWN_SECONDS (0.5 s)")


@pytest.mark.parametrize("work", ["never_drains", "blocks"])
def test_a_second_signal_ends_the_process_at_once(work: str) -> None:
    with running(work, 600) as process:
        process.terminate()
        assert process.stdout is not None
        assert any("stopping" in line for line in process.stdout), "the first one is on its way"
        process.terminate()
        assert reason(process).startswith("a second SIGTERM")


def test_sigusr1_prints_what_the_threads_do_and_changes_nothing() -> None:
    with running("blocks", 600) as process:
        process.send_signal(signal.SIGUSR1)
        assert process.stderr is not None
        assert "most recent call first" in process.stderr.readline()
        assert process.poll() is None


def test_whoever_stops_a_role_waits_longer_than_the_role_may_take() -> None:
    default = Settings.model_fields["shutdown_seconds"].default
    compose = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
    grace = {name: part.get("stop_grace_period") for name, part in compose["services"].items() if "build" in part}
    assert all(float(text.removesuffix("s")) > default for text in grace.values()), grace
    assert inspect.signature(Supervisor).parameters["stop_timeout"].default > default
    assert _STOP_SECONDS > default + KILL_MARGIN_SECONDS > default
