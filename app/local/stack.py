"""The whole service on one machine: Kafka, Postgres, Redis, an image storage and the roles, with their addresses.

`make up` and `make down` keep it running in the background (app/local/__main__.py); `make demo` runs it as long as it
lives itself. Everything it keeps stands under one folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from agents.embedder.default_model import ensure_default_model
from app.local.kafka import KafkaServer
from app.local.kafka_jars import user_cache
from app.local.ports import HOST, PortBook
from app.local.postgres import PostgresServer
from app.local.probe import answers_ok
from app.local.processes import ServerProcess
from app.local.redis import RedisServer
from app.local.storage import TOKEN_VARIABLE

REPOSITORY: Final = Path(__file__).parents[2]
DEFAULT_WEB_PORT: Final = 9007
DEFAULT_METRICS_PORT: Final = 9105
METRICS_PORTS: Final = 6
"""How many consecutive ports the roles of `python -m app all` take."""

_READY_SECONDS: Final = 180.0
_PREPARE_SECONDS: Final = 180.0
_STOP_SECONDS: Final = 30.0
"""Longer than the 20 s that the service's own supervisor gives its roles."""


def storage_command(folder: Path, port: int) -> list[str]:
    """The image storage that the stack runs unless it is given another one."""
    return [sys.executable, "-m", "app.local.storage", "--folder", str(folder), "--port", str(port)]


class Stack:
    """The servers and the service on free ports of 127.0.0.1.

    Args:
        root: holds all data, logs, the token and the file `env`; `.local` for `make up`.
        storage_argv: the image storage's command line for (folder, port); it answers GET /healthz and finds the token
            in STORAGE_SERVICE_TOKEN, because a command line can be read by all.
        service_argv: the command that runs every role until SIGTERM.
        prepare_argv: the command that makes topics and tables, run before the service starts.
        settings: more environment variables for the service; they win over this process's environment.
        say: takes one line for each step.

    """

    def __init__(
        self,
        root: Path,
        *,
        storage_argv: Callable[[Path, int], list[str]] = storage_command,
        service_argv: Sequence[str] = (sys.executable, "-m", "app", "all"),
        prepare_argv: Sequence[str] = (sys.executable, "-m", "app", "prepare"),
        settings: Mapping[str, str] | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.root = root.absolute()
        self.images = self.root / "images"
        self.kafka = KafkaServer(self.root / "servers" / "kafka")
        self.postgres = PostgresServer(self.root / "servers" / "postgres")
        self.redis = RedisServer(self.root / "servers" / "redis")
        self._storage = ServerProcess("storage", self.root / "servers" / "storage")
        self._service = ServerProcess("service", self.root / "logs", stop_timeout=_STOP_SECONDS)
        self._book = PortBook(self.root / "ports.json")
        self._storage_argv = storage_argv
        self._service_argv = list(service_argv)
        self._prepare_argv = list(prepare_argv)
        self._settings = dict(settings or {})
        self._say = say

    @property
    def env_file(self) -> Path:
        """The addresses of a stack that is up, as `NAME=value` lines for a shell."""
        return self.root / "env"

    @property
    def service_log(self) -> Path:
        """What the roles wrote, each line with its role's name."""
        return self._service.log_file

    def up(self, *, detached: bool = True) -> dict[str, str]:
        """Start what does not run yet and wait until the service is ready; with `detached` it outlives this process.

        Returns:
            The service's settings and addresses, as written to `env_file`.

        Raises:
            StartError: a part did not start; the message ends with its log.

        """
        with self._alone():
            self._start_servers(detached)
            env = self._environment()
            self._start_storage(env, detached)
            self._start_service(env, detached)
            self._write_env(env)
        self._say(f"service   {env['API_URL']} (metrics {env['METRICS_URL']})")
        return env

    def down(self) -> None:
        """Stop all that runs, the service first; the data stays."""
        with self._alone():
            for name, process in (("service", self._service), ("storage", self._storage)):
                if process.identity() is not None:
                    self._say(f"stopping {name}")
                    process.stop()
            for server in (self.kafka, self.redis, self.postgres):
                if server.running():
                    self._say(f"stopping {server.name}")
                    server.stop()
            self.env_file.unlink(missing_ok=True)

    def clean(self) -> None:
        """Stop all that runs and remove the data."""
        self.down()
        shutil.rmtree(self.root)

    def _start_servers(self, detached: bool) -> None:
        """Side by side: each waits mostly for itself."""
        servers = (self.kafka, self.postgres, self.redis)
        for server in servers:
            server.spawn(detached=detached)
        for server in servers:
            server.wait_ready()
        self._say(f"Kafka     {self.kafka.bootstrap_servers}")
        self._say(f"Postgres  {self.postgres.url}")
        self._say(f"Redis     {self.redis.url}")

    def _environment(self) -> dict[str, str]:
        """The service's settings; ports that are taken by others are moved unless our own process holds them."""
        ports = self._book.remembered()
        if self._service.identity() is None:
            ports["web"] = self._book.claim("web", preferred=DEFAULT_WEB_PORT)
            ports["metrics"] = self._book.claim("metrics", preferred=DEFAULT_METRICS_PORT, count=METRICS_PORTS)
        if self._storage.identity() is None:
            ports["storage"] = self._book.claim("storage")
        token = self._token()
        return {
            "REDIS_URL": self.redis.url,
            "DATABASE_URL": self.postgres.url,
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "API_URL": f"http://{HOST}:{ports['web']}",
            "METRICS_URL": f"http://{HOST}:{ports['metrics']}/metrics",
            "INTERNAL_TOKEN": token,
            "STORAGE_SERVICE_URL": f"http://{HOST}:{ports['storage']}",
            "STORAGE_SERVICE_TOKEN": token,
            "WEB_HOST": HOST,
            "WEB_PORT": str(ports["web"]),
            "WORKER_METRICS_HOST": HOST,
            "WORKER_METRICS_PORT": str(ports["metrics"]),
            "DATA_DIR": str(self.root / "state"),
            **self._settings,
        }

    def _start_storage(self, env: Mapping[str, str], detached: bool) -> None:
        url = env["STORAGE_SERVICE_URL"]
        if self._storage.identity() is None:
            self.images.mkdir(parents=True, exist_ok=True)
            port = int(url.rpartition(":")[2])
            environment = {**os.environ, TOKEN_VARIABLE: env["STORAGE_SERVICE_TOKEN"]}
            self._storage.spawn(
                self._storage_argv(self.images, port), env=environment, cwd=REPOSITORY, detached=detached
            )
        self._storage.wait_ready(lambda: answers_ok(f"{url}/healthz"), _READY_SECONDS)
        self._say(f"images    {url}")

    def _start_service(self, env: Mapping[str, str], detached: bool) -> None:
        if self._service.identity() is not None and self._written_env() != _lines(env):
            self._say("addresses have changed: restarting the service")
            self._service.stop()
        if self._service.identity() is None:
            # One built model serves every stack of this user; another one can be named in the environment.
            environment = {"MODEL_PATH": str(ensure_default_model(user_cache() / "models")), **os.environ, **env}
            self._prepare(environment)
            self._service.spawn(self._service_argv, env=environment, cwd=REPOSITORY, detached=detached)
        self._service.wait_ready(lambda: answers_ok(f"{env['API_URL']}/readyz"), _READY_SECONDS)

    def _prepare(self, environment: Mapping[str, str]) -> None:
        """Make topics, the first facts and the database's tables; all of it is harmless to repeat."""
        Path(environment["DATA_DIR"]).mkdir(parents=True, exist_ok=True)
        prepare = ServerProcess("prepare", self.root / "logs")
        prepare.log_file.unlink(missing_ok=True)
        prepare.spawn(self._prepare_argv, env=environment, cwd=REPOSITORY)
        prepare.wait_done(_PREPARE_SECONDS)

    def _token(self) -> str:
        """The internal token: random, made once, readable by its owner only."""
        path = self.root / "token"
        if not path.exists():
            _write_private(path, secrets.token_urlsafe(32))
        return path.read_text()

    def _write_env(self, env: Mapping[str, str]) -> None:
        _write_private(self.env_file, _lines(env))

    def _written_env(self) -> str:
        return self.env_file.read_text() if self.env_file.exists() else ""

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Holds a file lock, so that an `up` and a `down` at once do not start what the other stops."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _lines(env: Mapping[str, str]) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in env.items())


def _write_private(path: Path, text: str) -> None:
    """Write with mode 0600 from the first byte, and whole or not at all."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)
