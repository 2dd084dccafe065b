"""What the embedded servers have in common: a data folder, remembered ports, start, stop and kill.
Base of RedisServer, PostgresServer and KafkaServer.
"""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Final

import structlog

from app.local.ports import PortBook, is_free
from app.local.processes import ServerProcess, StartError

log = structlog.get_logger(__name__)

_ATTEMPTS: Final = 3


class EmbeddedServer(ABC):
    """A server on 127.0.0.1 whose data, log, pid and ports stand in `data_dir`.

    `start()` adopts a server that already runs on this folder, and `stop()` and `kill()` work on it from any process.
    Start it from the main thread, or it outlives a killed parent.
    """

    name: ClassVar[str]
    port_names: ClassVar[tuple[str, ...]]
    stop_signal: ClassVar[int] = signal.SIGTERM
    start_timeout: ClassVar[float] = 60.0

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.absolute()
        self.ports: dict[str, int] = {}
        self._book = PortBook(self.data_dir / "ports.json")
        self._process = ServerProcess(self.name, self.data_dir, stop_signal=self.stop_signal)

    @abstractmethod
    def _prepare(self) -> None:
        """Make what the server needs before each start: configuration for `self.ports`, an initial data folder."""

    @abstractmethod
    def _argv(self) -> list[str]:
        """The server's command line."""

    @abstractmethod
    def _ready(self) -> bool:
        """Whether it answers requests."""

    def _user(self) -> str | None:
        """The user to run it as; None for the current one."""
        return None

    @property
    def log_file(self) -> Path:
        """What the server wrote to stdout and stderr, over all its starts."""
        return self._process.log_file

    def running(self) -> bool:
        """Whether its process runs, whoever started it."""
        return self._process.identity() is not None

    def start(self, *, detached: bool = False) -> None:
        """Start it and wait until it answers; it ends with this process unless `detached`.

        Raises:
            StartError: it did not become ready; the message ends with its log.

        """
        self.spawn(detached=detached)
        self.wait_ready()

    def spawn(self, *, detached: bool = False) -> None:
        """The first half of `start()`, so that several servers can come up side by side."""
        self._detached = detached
        self.data_dir.mkdir(parents=True, exist_ok=True)
        if self.running():
            self.ports = self._book.remembered()
            return
        self.ports = {name: self._book.claim(name) for name in self.port_names}
        self._prepare()
        self._process.spawn(self._argv(), cwd=self.data_dir, user=self._user(), detached=detached)

    def wait_ready(self) -> None:
        """The second half of `start()`. A port that was taken in the meantime is moved, and the start repeated."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._process.wait_ready(self._ready, self.start_timeout)
                log.info("server_ready", server=self.name, ports=self.ports)
                return
            except StartError:
                lost = [port for port in self.ports.values() if not is_free(port)]
                if self.running() or not lost or attempt == _ATTEMPTS:
                    raise
                log.warning("port_taken", server=self.name, ports=lost)
                self.spawn(detached=self._detached)

    def stop(self) -> None:
        """End it in good order, with SIGKILL after a deadline; nothing happens when it does not run."""
        self._process.stop()

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        self._process.kill()
