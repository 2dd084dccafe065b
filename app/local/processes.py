"""A child process with a log and a pid file, which any later process can stop.

Called by the embedded servers (server.py) and the stack (stack.py). Linux: it reads /proc.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger(__name__)

_LAUNCHER: Final = Path(__file__).with_name("launch.py")
_POLL_SECONDS: Final = 0.02
_TAIL_LINES: Final = 20


class StartError(RuntimeError):
    """A server did not become ready; the message ends with the last lines of its log."""


@dataclass(frozen=True)
class ProcessId:
    """A pid together with its start time (clock ticks since boot), so that a reused pid is not taken for it."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The identity of the process that has `pid` now; None when there is none or it is a zombie."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return ProcessId.of(self.pid) == self

    def descendants(self) -> list[ProcessId]:
        """Its children and theirs that run now."""
        found: list[ProcessId] = []
        for children in Path(f"/proc/{self.pid}/task").glob("*/children"):
            try:
                pids = [int(pid) for pid in children.read_text().split()]
            except (FileNotFoundError, ProcessLookupError):
                continue
            for child in filter(None, map(ProcessId.of, pids)):
                found += [child, *child.descendants()]
        return found

    def send(self, signal_number: int) -> None:
        """Send a signal unless it has ended."""
        if self.alive():
            try:
                os.kill(self.pid, signal_number)
            except ProcessLookupError:
                return


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll until `condition()` holds; False when `timeout` seconds passed before."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def in_main_thread() -> bool:
    """Whether a parent-death signal may be asked for: the kernel ties a child to the thread that started it, and only
    the main thread's end is this process's end.
    """
    return threading.current_thread() is threading.main_thread()


def launcher_argv(argv: Sequence[str], *, user: str | None = None, parent_death_signal: int | None = None) -> list[str]:
    """`argv` wrapped so that it runs as `user` and receives `parent_death_signal` when the calling thread ends."""
    options: list[str] = []
    if user is not None:
        options += ["--user", user]
    if parent_death_signal is not None:
        options += ["--parent", str(os.getpid()), "--parent-death-signal", str(int(parent_death_signal))]
    if not options:
        return list(argv)
    return [sys.executable, "-I", "-S", str(_LAUNCHER), *options, "--", *argv]


class ServerProcess:
    """One child process, known by `{name}.pid` and `{name}.log` in `folder`.

    Args:
        name: names the files and the log lines.
        folder: where they stand; made when missing.
        stop_signal: asks the process to end in good order.
        stop_timeout: seconds it has for that before it is killed.

    """

    def __init__(
        self, name: str, folder: Path, *, stop_signal: int = signal.SIGTERM, stop_timeout: float = 20.0
    ) -> None:
        self.name = name
        self.log_file = folder / f"{name}.log"
        self._pid_file = folder / f"{name}.pid"
        self._stop_signal = stop_signal
        self._stop_timeout = stop_timeout
        self._child: subprocess.Popen[bytes] | None = None

    def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
        detached: bool = False,
    ) -> None:
        """Start it in a session of its own. It ends with this process unless `detached`.

        Raises:
            StartError: it runs already.

        """
        if self.identity() is not None:
            raise StartError(f"{self.name} is already running")
        tied = not detached and in_main_thread()
        command = launcher_argv(argv, user=user, parent_death_signal=self._stop_signal if tied else None)
        if not detached and not tied:
            atexit.register(self.kill)
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as output:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
            )
        identity = ProcessId.of(self._child.pid)
        if identity is not None:
            self._pid_file.write_text(json.dumps([identity.pid, identity.started]))
        log.debug("process_started", name=self.name, pid=self._child.pid)

    def wait_ready(self, ready: Callable[[], bool], timeout: float) -> None:
        """Wait until `ready()` holds.

        Raises:
            StartError: the process ended, or `timeout` seconds passed; in the second case it is killed.

        """
        ended = False

        def ready_or_ended() -> bool:
            nonlocal ended
            ended = self.identity() is None
            return ended or ready()

        if not wait_until(ready_or_ended, timeout):
            self.kill()
            raise StartError(f"{self.name} was not ready within {timeout:.0f} s\n{self.log_tail()}")
        if ended:
            code = self._child.wait() if self._child is not None else None
            raise StartError(f"{self.name} ended with exit code {code} before it was ready\n{self.log_tail()}")

    def wait_done(self, timeout: float) -> None:
        """Wait until a program that was spawned to do one thing has done it.

        Raises:
            StartError: its exit code is not 0, or `timeout` seconds passed; in the second case it is killed.

        """
        if self._child is None:
            raise StartError(f"{self.name} was not started here")
        try:
            code = self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise StartError(f"{self.name} took longer than {timeout:.0f} s\n{self.log_tail()}") from None
        self._forget()
        if code != 0:
            raise StartError(f"{self.name} ended with exit code {code}\n{self.log_tail()}")

    def identity(self) -> ProcessId | None:
        """The running process, also one that an earlier process of ours started; None when it does not run."""
        if self._child is not None:
            self._child.poll()
        try:
            pid, started = json.loads(self._pid_file.read_text())
        except (FileNotFoundError, ValueError):  # a half-written file means that its writer was killed
            return None
        identity = ProcessId(pid, started)
        return identity if identity.alive() else None

    def stop(self) -> None:
        """Ask it to end; kill it when it has not within `stop_timeout` seconds."""
        identity = self.identity()
        if identity is not None:
            identity.send(self._stop_signal)
            if not wait_until(lambda: self.identity() is None, self._stop_timeout):
                log.warning("process_killed", name=self.name, pid=identity.pid, after_seconds=self._stop_timeout)
                self.kill()
        self._forget()

    def kill(self) -> None:
        """End it and its descendants at once, with SIGKILL."""
        identity = self.identity()
        if identity is not None:
            family = [identity, *identity.descendants()]
            for member in family:
                member.send(signal.SIGKILL)
            wait_until(lambda: self.identity() is None and not any(member.alive() for member in family), 10.0)
        self._forget()

    def log_tail(self) -> str:
        """The last lines of its log."""
        if not self.log_file.exists():
            return ""
        lines = self.log_file.read_text(errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])

    def _forget(self) -> None:
        if self._child is not None:
            self._child.wait()  # reaps it
            self._child = None
        self._pid_file.unlink(missing_ok=True)
        atexit.unregister(self.kill)
