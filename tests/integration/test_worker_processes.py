"""Ctrl-C in a terminal goes to a command and to all its workers; the command alone answers it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.integration.app_command import ROOT, SECONDS

MODULE: Final = '''
import asyncio
import multiprocessing
import time

if multiprocessing.parent_process() is not None:
    print("importing", flush=True)
    time.sleep(600)

from app.commands.command import SettingsCommand
from app.worker_processes import work_on_all


async def work(job, told):
    """Is never come to."""


class endless(SettingsCommand):
    """Works for ever."""

    def execute(self, settings):
        asyncio.run(work_on_all(work, [0, 1, 2], 2, print))


if __name__ == "__main__":
    import endless
    from app.commands.command_line import command_line

    command_line(["endless"])
'''


def test_an_interrupt_ends_the_command_and_its_workers_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(MODULE)
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "endless.py")],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{tmp_path}"},
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["importing\n"] * 2
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, errors) == (130, "stopped: interrupted\n")
    gone(process.pid)


def gone(group: int) -> None:
    """Returns when no process of the group is left; what counts their semaphores ends a moment after them."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("a worker is left")
