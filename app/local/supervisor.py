"""Keeps the service's roles running: starts each as a process, restarts what dies, stops all on SIGTERM or SIGINT.

Called by `python -m app all` and, through it, by `make demo` and `make up`. A role is safe to kill at any moment, so
roles get SIGKILL when this process dies without having stopped them.
"""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

import structlog

from app.local.probe import answers_ok
from app.local.processes import StartError, in_main_thread, launcher_argv

log = structlog.get_logger(__name__)

_CHUNK: Final = 65536
_POLL_SECONDS: Final = 0.1
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Role:
    """A process to keep running: `argv` with `env` on top of this process's environment.

    `ready_url`, when given, answers 200 once the role is ready.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    ready_url: str | None = None


@dataclass(frozen=True)
class RestartDelay:
    """Seconds before a restart: `first`, doubled for each short life in a row, at most `longest`."""

    first: float = 0.5
    longest: float = 15.0
    long_life: float = 30.0
    """A role that lived this many seconds starts again from `first`."""

    def after(self, short_lives: int) -> float:
        """The delay after `short_lives` ≥ 1 short lives in a row."""
        return float(min(self.longest, self.first * 2 ** min(short_lives - 1, 30)))


class Supervisor:
    """Runs `roles` until `stop()`.

    Args:
        roles: what to run; the names differ.
        log_dir: each role's output is appended to `{name}.log` there; None keeps no files.
        relay: whether output also goes to stderr, each line with the role's name.
        stop_timeout: seconds from SIGTERM to SIGKILL.
        delay: how long a dead role waits for its restart.
        on_exit: called with the pid of each process that has ended.

    """

    def __init__(
        self,
        roles: Sequence[Role],
        *,
        log_dir: Path | None = None,
        relay: bool = True,
        stop_timeout: float = 30.0,
        delay: RestartDelay | None = None,
        on_exit: Callable[[int], None] | None = None,
    ) -> None:
        if len({role.name for role in roles}) != len(roles):
            raise ValueError(f"roles: two have the same name: {[role.name for role in roles]}")
        self._roles = tuple(roles)
        self._log_dir = log_dir
        self._relay = relay
        self._stop_timeout = stop_timeout
        self._delay = delay if delay is not None else RestartDelay()
        self._on_exit = on_exit
        self._stopping = asyncio.Event()
        self._keepers: list[asyncio.Task[None]] = []
        self._children: dict[str, asyncio.subprocess.Process] = {}

    def start(self) -> None:
        """Start every role; call it inside a running event loop."""
        self._keepers = [asyncio.create_task(self._keep(role), name=f"keep {role.name}") for role in self._roles]

    def pids(self) -> dict[str, int]:
        """The pid of each role that runs now."""
        return {name: child.pid for name, child in self._children.items() if child.returncode is None}

    async def wait_ready(self, within: float) -> None:
        """Wait until every role with a `ready_url` answers, at most `within` seconds.

        Raises:
            StartError: that was not enough; the message names the roles that are not ready.

        """
        deadline = time.monotonic() + within
        waiting = [role for role in self._roles if role.ready_url is not None]
        while waiting:
            answers = [await asyncio.to_thread(answers_ok, str(role.ready_url)) for role in waiting]
            waiting = [role for role, ready in zip(waiting, answers, strict=True) if not ready]
            if waiting and time.monotonic() > deadline:
                raise StartError(f"not ready within {within:.0f} s: {', '.join(role.name for role in waiting)}")
            await asyncio.sleep(_POLL_SECONDS if waiting else 0)

    async def stop(self) -> list[str]:
        """Send SIGTERM to every role, after `stop_timeout` seconds SIGKILL; the names of those that needed it."""
        self._stopping.set()
        self._signal_all(signal.SIGTERM)
        _done, late = await asyncio.wait(self._keepers, timeout=self._stop_timeout) if self._keepers else ((), set())
        killed = sorted(self.pids())
        if late:
            log.warning("roles_killed", roles=killed, after_seconds=self._stop_timeout)
            self.kill()
        await asyncio.gather(*self._keepers)
        return killed if late else []

    def kill(self) -> None:
        """Send SIGKILL to every role that runs."""
        self._signal_all(signal.SIGKILL)

    async def failure(self) -> None:
        """Wait for what ends a role for good, such as a full disk or no more processes, and raise it."""
        await asyncio.gather(*self._keepers)

    def _signal_all(self, signal_number: int) -> None:
        for child in self._children.values():
            if child.returncode is None:
                child.send_signal(signal_number)

    async def _keep(self, role: Role) -> None:
        short_lives = 0
        while not self._stopping.is_set():
            born = time.monotonic()
            code = await self._live(role)
            lived = time.monotonic() - born
            if self._stopping.is_set():
                log.info("role_stopped", role=role.name, exit_code=code)
                return
            short_lives = 1 if lived >= self._delay.long_life else short_lives + 1
            wait = self._delay.after(short_lives)
            log.warning("role_died", role=role.name, exit_code=code, lived_s=round(lived, 1), restart_in_s=wait)
            try:
                await asyncio.wait_for(self._stopping.wait(), wait)
            except TimeoutError:
                continue

    async def _live(self, role: Role) -> int:
        """One life of a role, from start to exit; its exit code, negative for a signal."""
        argv = launcher_argv(role.argv, parent_death_signal=signal.SIGKILL if in_main_thread() else None)
        child = await asyncio.create_subprocess_exec(
            *argv,
            env={**os.environ, **role.env},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C reaches the roles once, through stop()
        )
        self._children[role.name] = child
        if self._stopping.is_set():  # stop() ran while the process was being made
            child.terminate()
        log.info("role_started", role=role.name, pid=child.pid)
        assert child.stdout is not None
        await self._copy_output(role.name, child.stdout)
        code = await child.wait()
        if self._on_exit is not None:
            self._on_exit(child.pid)
        return code

    async def _copy_output(self, name: str, output: asyncio.StreamReader) -> None:
        """Copy a role's lines to its log file and to stderr until it closes them."""
        with self._open_log(name) as file:
            rest = b""
            while chunk := await output.read(_CHUNK):
                file.write(chunk)
                *lines, rest = (rest + chunk).split(b"\n")
                if self._relay and lines:
                    self._to_stderr(name, lines)
            if self._relay and rest:
                self._to_stderr(name, [rest])

    def _open_log(self, name: str) -> io.FileIO:
        if self._log_dir is None:
            return io.FileIO(os.devnull, "a")
        self._log_dir.mkdir(parents=True, exist_ok=True)
        return io.FileIO(self._log_dir / f"{name}.log", "a")

    def _to_stderr(self, name: str, lines: Sequence[bytes]) -> None:
        try:
            for line in lines:
                sys.stderr.write(f"{name:>8} | {line.decode(errors='replace')}\n")
            sys.stderr.flush()
        except OSError as error:  # nobody reads stderr any more; the roles go on
            self._relay = False
            log.warning("relay_ended", error=str(error))


async def run_roles(
    roles: Sequence[Role],
    *,
    log_dir: Path | None = None,
    relay: bool = True,
    stop_timeout: float = 30.0,
    delay: RestartDelay | None = None,
    on_exit: Callable[[int], None] | None = None,
) -> int:
    """Keep `roles` running until SIGTERM or SIGINT, then stop them; a second signal kills them at once.

    Returns:
        0, or 1 when a role had to be killed.

    Raises:
        OSError: a role cannot be run at all; the others have been stopped.

    """
    supervisor = Supervisor(
        roles, log_dir=log_dir, relay=relay, stop_timeout=stop_timeout, delay=delay, on_exit=on_exit
    )
    with _stop_signals(supervisor) as asked:
        supervisor.start()
        request = asyncio.create_task(asked.wait())
        failure = asyncio.create_task(supervisor.failure())
        try:
            await asyncio.wait((request, failure), return_when=asyncio.FIRST_COMPLETED)
            if failure.done():
                failure.result()
        finally:
            request.cancel()
            killed = await supervisor.stop()
    return 1 if killed else 0


@contextmanager
def _stop_signals(supervisor: Supervisor) -> Iterator[asyncio.Event]:
    """Within the block: an event that the first SIGTERM or SIGINT sets; a second one kills the roles."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if asked.is_set():
            supervisor.kill()
        asked.set()

    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        yield asked
    finally:
        for number in _STOP_SIGNALS:
            loop.remove_signal_handler(number)
