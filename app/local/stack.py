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
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Final

from agents.embedder.default_model import ensure_default_model
from app.local.kafka import KafkaServer
from app.local.kafka_jars import user_cache
from app.local.ports import HOST, PortBook
from app.local.postgres import PostgresServer
from app.local.private_file import write_private
from app.local.probe import answers_ok
from app.local.processes import ServerProcess
from app.local.redis import RedisServer
from app.local.start_settings import StartSettings
from app.local.storage import TOKEN_VARIABLE
from app.settings import ALL_ROLES_PORTS, SettingsError, given_settings, load_settings

REPOSITORY: Final = Path(__file__).parents[2]
DEFAULT_WEB_PORT: Final = 9007
DEFAULT_METRICS_PORT: Final = 9105
OWN_VARIABLES: Final = frozenset(
    (
        *("REDIS_URL", "DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "DATA_DIR", "WEB_HOST", "WORKER_METRICS_HOST"),
        *("INTERNAL_TOKEN", "INTERNAL_SERVICE_TOKEN", "STORAGE_SERVICE_URL", "STORAGE_SERVICE_TOKEN"),
    )
)
"""Settings that the stack makes itself; the environment's are not used. WEB_PORT and WORKER_METRICS_PORT are, where
they are free; every other setting reaches the service as it is.
"""

_READY_SECONDS: Final = 180.0
_PREPARE_SECONDS: Final = 180.0
_STOP_SECONDS: Final = 45.0
"""Longer than the 30 s that the service's own supervisor gives its roles (SHUTDOWN_SECONDS and 5 s)."""


def storage_command(folder: Path, port: int) -> list[str]:
    """The image storage that the stack runs unless it is given another one."""
    return [sys.executable, "-m", "app.local.storage", "--folder", str(folder), "--port", str(port)]


def stack_settings() -> dict[str, str]:
    """The settings that the environment and `.env` give, as text. Raises SettingsError for one that is not valid."""
    try:
        load_settings()
    except SettingsError as error:
        problems = {name: reason for name, reason in error.problems.items() if name not in OWN_VARIABLES}
        if problems:
            raise SettingsError(problems) from None
    return given_settings()


class Stack:
    """The servers and the service on free ports of 127.0.0.1.

    Args:
        root: holds all data, logs, the token and the file `env`; `.local` for `make up`.
        storage_argv: the image storage's command line for (folder, port); it answers GET /healthz and finds the token
            in STORAGE_SERVICE_TOKEN, because a command line can be read by all.
        service_argv: the command that runs every role until SIGTERM.
        prepare_argv: the command that makes topics and tables, run before the service starts.
        settings: more environment variables for the service; they win over this process's environment.
        given: the settings that the environment gives, as text; WEB_PORT and WORKER_METRICS_PORT must be numbers.
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
        given: Mapping[str, str] | None = None,
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
        self._given = dict(given or {})
        self._started_with = StartSettings(self.root / "started-with.json")
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
            self._tell_what_is_not_used(env)
            self._start_storage(env, detached)
            self._start_service(env, detached)
            self._write_env(env)
        self._say(f"service   {env['API_URL']} (metrics {env['METRICS_URL']})")
        return env

    def down(self) -> bool:
        """Stop all that runs, the service first; the data stays. Returns whether anything ran."""
        ran = False
        with self._alone():
            for name, process in (("service", self._service), ("storage", self._storage)):
                if process.identity() is not None:
                    ran = True
                    self._say(f"stopping {name}")
                    process.stop()
            for server in (self.kafka, self.redis, self.postgres):
                if server.running():
                    ran = True
                    self._say(f"stopping {server.name}")
                    server.stop()
            self.env_file.unlink(missing_ok=True)
        return ran

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
            ports["web"] = self._claim("web", "WEB_PORT", DEFAULT_WEB_PORT)
            ports["metrics"] = self._claim(
                "metrics", "WORKER_METRICS_PORT", DEFAULT_METRICS_PORT, ALL_ROLES_PORTS, {ports["web"]}
            )
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

    def _claim(self, name: str, variable: str, default: int, count: int = 1, avoid: Set[int] = frozenset()) -> int:
        """The remembered ports or the ones from `default` on, unless the environment gives others."""
        text = self._given.get(variable)
        wanted = None if text is None else int(text)
        port = self._book.claim(name, preferred=default, wanted=wanted, count=count, avoid=avoid)
        if wanted not in (None, port):
            self._say(f"{variable}: {text} is taken, {port} is used")
        return port

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
            self._started_with.write(self._handed_on(env))
        else:
            self._tell_what_waits(env)
        self._service.wait_ready(lambda: answers_ok(f"{env['API_URL']}/readyz"), _READY_SECONDS)

    def _handed_on(self, env: Mapping[str, str]) -> dict[str, str]:
        """The settings that reach the service as the environment gives them."""
        return {name: text for name, text in self._given.items() if name not in OWN_VARIABLES | env.keys()}

    def _tell_what_is_not_used(self, env: Mapping[str, str]) -> None:
        """Say which given settings the stack replaces by its own; none after sourcing `env_file`."""
        replaced = sorted(n for n, text in self._given.items() if n in OWN_VARIABLES and env.get(n) != text)
        if replaced:
            self._say(f"the stack has its own, so these are not used: {', '.join(replaced)}")

    def _tell_what_waits(self, env: Mapping[str, str]) -> None:
        """Say which settings differ from those that the running service has."""
        waiting = self._started_with.changed(self._handed_on(env))
        waiting += [
            name for name in ("WEB_PORT", "WORKER_METRICS_PORT") if self._given.get(name, env[name]) != env[name]
        ]
        if waiting:
            self._say(f"runs already and keeps its settings; `make down` first to change {', '.join(sorted(waiting))}")

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
            write_private(path, secrets.token_urlsafe(32))
        return path.read_text()

    def _write_env(self, env: Mapping[str, str]) -> None:
        write_private(self.env_file, _lines(env))

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
