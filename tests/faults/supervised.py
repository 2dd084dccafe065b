"""A whole service whose roles are restarted when they end, each end noted. Used by stack.py.

Names are ``fold``, or ``fold-2`` for a second worker of the role.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from app.local.processes import launcher_argv
from tests.e2e.service import REPOSITORY, ROLES, Service
from tests.faults.clocks import Clocks

POLL_SECONDS: Final = 0.05
FIRST_DELAY: Final = 0.3
LONGEST_DELAY: Final = 5.0
LONG_LIFE: Final = 10.0
STOP_SECONDS: Final = 30.0
LOG_TAIL: Final = 3000
SECOND_WORKERS: Final = ("bridge", "embed", "fold", "project")
LEAVING: Final = "leave"
ENDING: Final = "the end"
STOPPED: Final = ("term", LEAVING, ENDING)
"""What is asked of a process by SIGTERM; `KILLED`: by SIGKILL."""
KILLED: Final = ("kill", "kill in flight", "state_lost", f"{LEAVING} killed")


@dataclass(frozen=True)
class Exit:
    """A process that has ended. `asked`: what we did to it before, empty when it ended by itself. `said`: the end of
    what it wrote.
    """

    name: str
    code: int
    at: float
    lived: float
    asked: str
    said: str = ""


@dataclass
class _Keeper:
    """A role that is to run. `paused`: not to be restarted for now. `log_from`: where its log begins in this life."""

    born: float = 0.0
    log_from: int = 0
    short_lives: int = 0
    due: float = 0.0
    paused: bool = False
    asked: str = ""


@dataclass
class SupervisedService(Service):
    """`begin` starts roles and the watch over them, `end` stops both; `signal` strikes a process.

    `cache_url`: Redis of the projector and the API; `redis_url` is the bridge's. `off`: protection that all roles run
    without (tests.faults.without), empty for none.
    """

    cache_url: str = ""
    ports_left: list[int] = field(default_factory=list)
    off: str = ""
    exits: list[Exit] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.web_port = self.ports_left.pop()
        names = [*ROLES, *(f"{role}-2" for role in SECOND_WORKERS)]
        self.ports = {name: self.ports_left.pop() for name in names}
        self.clocks = Clocks(self.root)
        self._keepers: dict[str, _Keeper] = {}
        self._watch: asyncio.Task[None] | None = None

    def env(self, role: str) -> dict[str, str]:
        """The settings of a process by its name."""
        name, _, worker = role.partition("-")
        env = super().env(role)
        if name != "bridge":
            env["REDIS_URL"] = self.cache_url
        if name not in ROLES:  # `prepare` serves no metrics
            del env["WORKER_METRICS_PORT"]
        if worker:
            env["WORKER_ID"] = worker
            env["CLUSTER_WORKER_CONSUMER_NAME"] = name + worker
        return env

    def argv(self, role: str) -> list[str]:
        """The role's command line; it dies with this process."""
        name = role.partition("-")[0]
        runner = (
            ["tests.faults.without", self.off] if self.off else ["tests.faults.clocks", str(self.clocks.file(name))]
        )
        program = ["-m", *runner, name]
        return launcher_argv([sys.executable, *program], parent_death_signal=signal.SIGKILL)

    def state_folder(self, name: str) -> Path:
        """Where a worker keeps its tables."""
        role, _, worker = name.partition("-")
        return self.root / "state" / f"{role}-{worker or '1'}"

    async def begin(self, names: Sequence[str] = ROLES) -> None:
        """Start, and watch from now on."""
        for name in names:
            self.keep(name)
        self._watch = asyncio.create_task(self._watch_all())

    def keep(self, name: str) -> None:
        """Start a process and keep it running."""
        self._keepers[name] = _Keeper()
        self._spawn(name)

    async def leave(self, name: str, number: signal.Signals) -> None:
        """End a second worker for good, by SIGTERM or SIGKILL; it may have ended by itself before."""
        asked = LEAVING if number == signal.SIGTERM else f"{LEAVING} killed"
        keeper = self._keepers.pop(name)
        process = self.processes.pop(name, None)
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
            keeper.asked = asked
        code = await asyncio.to_thread(_wait, process)
        self._note_exit(name, keeper, code)

    def pause(self, name: str) -> None:
        """Do not restart it until `resume`."""
        self._keepers[name].paused = True

    def resume(self, name: str) -> None:
        """Restart it if it has ended."""
        self._keepers[name].paused = False

    def send(self, name: str, number: signal.Signals, why: str) -> bool:
        """Send a signal to a process; False when it does not run now."""
        process = self.processes.get(name)
        if process is None or process.poll() is not None:
            return False
        if name in self._keepers and number in (signal.SIGKILL, signal.SIGTERM):
            self._keepers[name].asked = why
        process.send_signal(number)
        return True

    def is_ending(self, name: str) -> bool:
        """Whether the process that runs now was told to end."""
        keeper = self._keepers.get(name)
        return keeper is not None and bool(keeper.asked)

    def runs(self, name: str) -> bool:
        """Whether the process runs (a stopped one does)."""
        process = self.processes.get(name)
        return process is not None and process.poll() is None

    async def end(self) -> dict[str, int]:
        """Stop all by SIGTERM, after a while by SIGKILL; exit codes by name."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        running = dict(self.processes)
        for name, process in running.items():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                self._keepers[name].asked = ENDING
        codes = await asyncio.gather(*(asyncio.to_thread(_wait, process) for process in running.values()))
        for name, code in zip(running, codes, strict=True):
            self._note_exit(name, self._keepers[name], code)
        self._keepers.clear()
        self.processes.clear()
        return dict(zip(running, codes, strict=True))

    def tail(self, name: str, size: int = LOG_TAIL) -> str:
        """The end of a process's log, over all its lives."""
        path = self.root / f"{name}.log"
        return path.read_text(errors="replace")[-size:] if path.exists() else ""

    def _spawn(self, name: str) -> None:
        self._keepers[name].born = time.monotonic()
        with (self.root / f"{name}.log").open("ab") as log:
            self._keepers[name].log_from = log.tell()
            log.write(f"--- {name} starts\n".encode())
            log.flush()
            self.processes[name] = subprocess.Popen(
                self.argv(name), env=self.env(name), cwd=REPOSITORY, stdout=log, stderr=log, start_new_session=True
            )

    async def _watch_all(self) -> None:
        while True:
            for name in list(self._keepers):
                self._watch_one(name, self._keepers[name])
            await asyncio.sleep(POLL_SECONDS)

    def _watch_one(self, name: str, keeper: _Keeper) -> None:
        process, now = self.processes.get(name), time.monotonic()
        if process is not None:
            code = process.poll()
            if code is None:
                return
            lived = now - keeper.born
            self._note_exit(name, keeper, code)
            keeper.short_lives = 0 if lived >= LONG_LIFE or keeper.asked else keeper.short_lives + 1
            keeper.due = now + min(LONGEST_DELAY, FIRST_DELAY * 2**keeper.short_lives)
            keeper.asked = ""
            del self.processes[name]
        if not keeper.paused and now >= keeper.due:
            self._spawn(name)

    def _note_exit(self, name: str, keeper: _Keeper, code: int) -> None:
        now = time.monotonic()
        said = (self.root / f"{name}.log").read_bytes()[keeper.log_from :][-LOG_TAIL:].decode(errors="replace")
        self.exits.append(Exit(name, code, now, now - keeper.born, keeper.asked, said))


def _wait(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
