"""A worker that is stopped for longer than its session, while another takes its partitions; then it wakes up."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from typing import ClassVar, Final

from agents.abort import EXIT_CODE
from app.local.ports import HOST
from app.local.probe import answers_ok
from tests.faults.fault import Fault, NotNow
from tests.faults.stack import Stack

READY_SECONDS: Final = 20.0
WAKE_SECONDS: Final = 30.0


class Zombie(Fault):
    """SIGSTOP, a second worker, SIGCONT: the first must end itself with its own exit code and write nothing."""

    family: ClassVar[str] = "zombie"

    async def inject(self, stack: Stack) -> None:
        """Stop the worker once it is a member of its group, and start the other.

        One that another fault has just told to end would wake up and end as it was told.
        """
        service = stack.service
        deadline = time.monotonic() + READY_SECONDS
        while not (
            await _is_ready(stack, self.target)
            and not service.is_ending(self.target)
            and service.send(self.target, signal.SIGSTOP, "zombie")
        ):
            if time.monotonic() > deadline:
                raise NotNow(f"{self.target} is not ready")
            await asyncio.sleep(0.1)
        service.pause(self.target)
        service.keep(f"{self.target}-2")
        self._process = service.processes[self.target]
        self._stopped = time.monotonic()

    async def heal(self, stack: Stack) -> None:
        """Wake it up and see how it ends; the other worker leaves."""
        slept = time.monotonic() - self._stopped
        self._process.send_signal(signal.SIGCONT)
        try:
            code = await asyncio.to_thread(self._process.wait, WAKE_SECONDS)
            if code != EXIT_CODE:
                stack.broken_promises.append(
                    f"zombie_{self.target}: slept {slept:.0f} s, ended with {code}, not {EXIT_CODE}"
                )
        except subprocess.TimeoutExpired:
            stack.broken_promises.append(f"zombie_{self.target}: lives on after {slept:.0f} s of sleep")
            self._process.kill()
        stack.service.resume(self.target)
        await stack.service.leave(f"{self.target}-2", signal.SIGTERM)


async def _is_ready(stack: Stack, name: str) -> bool:
    return await asyncio.to_thread(answers_ok, f"http://{HOST}:{stack.service.ports[name]}/readyz")
