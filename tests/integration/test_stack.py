"""The local stack with real servers and small stand-ins for the service: it comes up, stays, moves and goes."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import redis

from app.local.ports import HOST, PortBook, free_port
from app.local.probe import answers_ok
from app.local.processes import StartError
from app.local.stack import REPOSITORY, Stack, stack_settings, storage_command
from app.settings import SettingsError

SERVES = textwrap.dedent("""
    import http.server, os, socket, sys
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path in ("/healthz", "/readyz") else 404)
            self.end_headers()
    if len(sys.argv) > 1:
        port = int(sys.argv[1])
    else:
        port = int(os.environ["WEB_PORT"])
        metrics = socket.create_server(("127.0.0.1", int(os.environ["WORKER_METRICS_PORT"])))
    print("serving for", os.environ.get("DATABASE_URL"), "with", os.environ["STORAGE_SERVICE_TOKEN"], flush=True)
    http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
""")
PREPARES = "import os, pathlib; (pathlib.Path(os.environ['DATA_DIR']) / 'prepared').touch()"


def stack_at(
    root: Path,
    *,
    prepare: str = PREPARES,
    given: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> Stack:
    return Stack(
        root,
        storage_argv=lambda _folder, port: [sys.executable, "-c", SERVES, str(port)],
        service_argv=[sys.executable, "-c", SERVES],
        prepare_argv=[sys.executable, "-c", prepare],
        given=given,
        say=say,
    )


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "local"
    yield folder
    if folder.exists():
        stack_at(folder).down()


def sourced(env_file: Path) -> dict[str, str]:
    """The variables that a shell has after sourcing the file."""
    script = f"set -a; . '{env_file}'; env -0"
    shown = subprocess.run(["bash", "-c", script], env={}, capture_output=True, text=True, check=True).stdout
    return dict(line.split("=", 1) for line in shown.split("\0") if line)


def command_lines(root: Path) -> str:
    """What anyone on the machine can read of the processes that stand under `root`."""
    pids = [json.loads(path.read_text())[0] for path in root.rglob("*.pid") if path.read_text().startswith("[")]
    assert len(pids) >= 2
    return "\n".join(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in pids)


def test_the_storages_command_line_holds_no_token(tmp_path: Path) -> None:
    assert "--token" not in storage_command(tmp_path, 1)


def test_the_stack_comes_up_once_and_survives_down_and_up(root: Path) -> None:
    env = stack_at(root).up()
    assert stat.S_IMODE((root / "env").stat().st_mode) == 0o600
    assert sourced(root / "env").items() >= env.items()
    assert (root / "state" / "prepared").exists()
    assert answers_ok(f"{env['API_URL']}/readyz")
    assert f"with {env['INTERNAL_TOKEN']}" in (root / "servers" / "storage" / "storage.log").read_text()
    assert env["INTERNAL_TOKEN"] not in command_lines(root)
    redis.Redis.from_url(env["REDIS_URL"]).set("photo", "cat")

    pids = sorted(path.read_text() for path in root.rglob("*.pid"))
    assert stack_at(root).up() == env
    assert sorted(path.read_text() for path in root.rglob("*.pid")) == pids  # nothing was started a second time

    stack_at(root).down()
    assert not list(root.rglob("*.pid"))
    assert not (root / "env").exists()
    assert not answers_ok(f"{env['API_URL']}/readyz")
    stack_at(root).down()  # harmless

    assert stack_at(root).up() == env  # same ports, same token
    assert redis.Redis.from_url(env["REDIS_URL"]).get("photo") == b"cat"
    stack_at(root).clean()
    assert not root.exists()


def test_two_stacks_share_no_port_and_a_killed_service_is_replaced(root: Path, tmp_path: Path) -> None:
    first = stack_at(root)
    other = stack_at(tmp_path / "other")
    env = first.up(detached=False)
    try:
        other_env = other.up(detached=False)
        addresses = {"REDIS_URL", "DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "API_URL", "METRICS_URL"}
        for name in {*addresses, "STORAGE_SERVICE_URL", "INTERNAL_TOKEN"}:
            assert env[name] != other_env[name], name
    finally:
        other.down()

    pid_file = next(root.rglob("service.pid"))
    os.kill(int(pid_file.read_text().strip("[]").split(",")[0]), 9)
    assert first.up(detached=False) == env
    assert answers_ok(f"{env['API_URL']}/readyz")
    first.down()


def test_a_failed_preparation_is_reported_with_its_output(root: Path) -> None:
    with pytest.raises(StartError, match=r"(?s)prepare ended with exit code 1.*no such table"):
        stack_at(root, prepare="import sys; sys.exit('no such table')").up()
    assert not (root / "env").exists()


def test_ports_of_the_environment_are_used_or_moved_and_a_running_service_keeps_its_own(root: Path) -> None:
    said: list[str] = []
    with socket.create_server((HOST, 0)) as listener:
        taken = listener.getsockname()[1]
        given = {"WEB_PORT": str(free_port()), "WORKER_METRICS_PORT": str(taken), "LOG_LEVEL": "DEBUG"}
        env = stack_at(root, given={**given, "REDIS_URL": "redis://elsewhere"}, say=said.append).up()
    assert env["WEB_PORT"] == given["WEB_PORT"]
    assert int(env["WORKER_METRICS_PORT"]) > taken
    assert f"WORKER_METRICS_PORT: {taken} is taken, {env['WORKER_METRICS_PORT']} is used" in said
    assert "the stack has its own, so these are not used: REDIS_URL" in said
    assert "elsewhere" not in "".join(said)

    said.clear()
    same = {**given, "WORKER_METRICS_PORT": env["WORKER_METRICS_PORT"], "REDIS_URL": env["REDIS_URL"]}
    assert stack_at(root, given=same, say=said.append).up() == env
    assert not [line for line in said if "make down" in line or "not used" in line]

    other = {"WEB_PORT": str(free_port()), "LOG_LEVEL": "INFO", "APP_NAME": "mine"}
    assert stack_at(root, given=other, say=said.append).up() == env
    assert "runs already and keeps its settings; `make down` first to change APP_NAME, LOG_LEVEL, WEB_PORT" in said

    stack_at(root).down()
    assert stack_at(root, given=other).up()["WEB_PORT"] == other["WEB_PORT"]


def test_down_tells_that_nothing_runs(root: Path) -> None:
    done = local("down", root)
    assert (done.returncode, done.stdout) == (0, "not running\n")


def test_up_refuses_a_bad_setting_before_it_starts_anything(root: Path) -> None:
    done = local("up", root, WEB_PORT="abc")
    assert done.returncode == 2
    assert re.fullmatch(r"invalid settings: WEB_PORT: [^\n]+\n", done.stderr)
    assert not list(root.rglob("*.pid"))


def test_the_sample_photos_lie_where_the_storage_looks(root: Path) -> None:
    assert local("photos", root).returncode == 0
    assert {f"comet-{number:03}.jpg" for number in range(14)} <= {path.name for path in (root / "images").iterdir()}


def test_variables_that_the_stack_replaces_need_not_be_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://of-another-project")
    monkeypatch.setenv("LOG_LEVEL", "debug")
    assert stack_settings().items() >= {"LOG_LEVEL": "debug", "DATABASE_URL": "mysql://of-another-project"}.items()
    monkeypatch.setenv("LOG_LEVEL", "loud")
    with pytest.raises(SettingsError, match=r"^LOG_LEVEL: [^;]+$"):
        stack_settings()


def test_one_range_of_ports_never_holds_anothers(tmp_path: Path) -> None:
    book = PortBook(tmp_path / "ports.json")
    metrics = book.claim("metrics", preferred=20000, count=6)
    web = book.claim("web", wanted=metrics + 2)
    assert web == metrics + 2
    moved = book.claim("metrics", preferred=metrics, count=6, avoid={web})
    assert web not in range(moved, moved + 6)
    assert book.remembered() == {"web": web, "metrics": moved}


def local(command: str, root: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python -m app.local COMMAND` on `root`."""
    return subprocess.run(
        [sys.executable, "-m", "app.local", command, "--root", str(root)],
        env={**os.environ, **variables},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
