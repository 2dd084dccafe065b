"""Free TCP ports on 127.0.0.1 that a server keeps from start to start. Called by the embedded servers and the stack."""

from __future__ import annotations

import json
import socket
from collections.abc import Set
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


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def free_run(first: int, count: int, avoid: Set[int] = frozenset()) -> int:
    """The lowest port ≥ `first` that begins `count` consecutive free ones, none of them in `avoid`.

    Raises:
        RuntimeError: there is none below 65536.

    """
    run = 0
    for port in range(first, 65536):
        run = run + 1 if port not in avoid and is_free(port) else 0
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

    def claim(
        self,
        name: str,
        *,
        preferred: int | None = None,
        wanted: int | None = None,
        count: int = 1,
        avoid: Set[int] = frozenset(),
    ) -> int:
        """The first of `count` consecutive free ports for `name`, none in `avoid`; written down for the next start.

        It is `wanted`, else the remembered one, else `preferred`. Where that is taken, it is the next free one after
        `wanted` or `preferred`, any when neither is given.
        """
        ports = self.remembered()
        port = wanted if wanted is not None else ports.get(name)
        if port is None or not all(is_free(port + i) and port + i not in avoid for i in range(count)):
            # Another name's port is free only because its server is not up yet.
            taken = avoid | {other for key, other in ports.items() if key != name}
            first = wanted if wanted is not None else preferred
            port = free_run(first, count, taken) if first is not None else free_port()
            while port in taken:
                port = free_port()
        if ports.get(name) != port:
            ports[name] = port
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(ports))
        return port
