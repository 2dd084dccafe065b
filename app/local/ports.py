"""Free TCP ports on 127.0.0.1 that a server keeps from start to start. Called by the embedded servers and the stack."""

from __future__ import annotations

import json
import socket
from pathlib import Path

HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether nobody listens on `port` of 127.0.0.1 (connections that linger from an earlier server do not count)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def is_open(port: int) -> bool:
    """Whether something accepts connections on `port` of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def free_run(first: int, count: int) -> int:
    """The lowest port ≥ `first` that begins `count` consecutive free ones.

    Raises:
        RuntimeError: there is none below 65536.

    """
    run = 0
    for port in range(first, 65536):
        run = run + 1 if is_free(port) else 0
        if run == count:
            return port - count + 1
    raise RuntimeError(f"no {count} consecutive free ports from {first} on")


class PortBook:
    """Remembers ports by name in a JSON file, and moves one that somebody else has taken since."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def remembered(self) -> dict[str, int]:
        """What the file holds, {} when there is none."""
        if not self._path.exists():
            return {}
        ports: dict[str, int] = json.loads(self._path.read_text())
        return ports

    def claim(self, name: str, *, preferred: int | None = None, count: int = 1) -> int:
        """The first of `count` consecutive free ports for `name`, written down for the next start.

        It is the remembered one, else `preferred` or the next free after it, else any.
        """
        ports = self.remembered()
        port = ports.get(name)
        if port is None or not all(is_free(port + i) for i in range(count)):
            taken = {other for key, other in ports.items() if key != name}
            port = free_run(preferred, count) if preferred is not None else free_port()
            while port in taken:  # another name's port is free only because its server is not up yet
                port = free_run(port + 1, count) if preferred is not None else free_port()
            ports[name] = port
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(ports))
        return port
