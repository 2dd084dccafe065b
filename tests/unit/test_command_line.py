"""`python -m app`: its help, and one line instead of a traceback where it cannot start."""

from __future__ import annotations

import ast
import os
import re
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from faust.types.settings import Settings as FaustSettings

import app.__main__  # registers the commands
from app import VERSION
from app.commands.command_line import command_line
from app.faust_apps import create_app
from app.local.ports import HOST, free_port
from app.settings import Settings

ROOT = Path(__file__).parents[2]
FAUST_VARIABLES = sorted(param.env_name for param in FaustSettings.SETTINGS.values() if param.env_name)
AT_IMPORT = ("FAUST_WEB_PORT", "F_WEB_PORT", "FAUST_CONSOLE_PORT", "FAUST_BLOCKING_TIMEOUT")


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python -m app ARGUMENTS` with no setting but `variables`, in a folder without a `.env`."""
    names = {*(name.upper() for name in Settings.model_fields), *FAUST_VARIABLES, "INTERNAL_SERVICE_TOKEN"}
    kept = {name: value for name, value in os.environ.items() if name.upper() not in names}
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        env={**kept, "PYTHONPATH": str(ROOT), **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.create_server((HOST, 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("command", "value"),
    [("web", "abc"), ("web", "70000"), ("web", "0"), ("prepare", "abc"), ("all", "abc"), ("bridge", "abc")],
)
def test_a_bad_setting_is_one_line_and_exit_code_2(tmp_path: Path, command: str, value: str) -> None:
    done = run(tmp_path, command, WEB_PORT=value)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"invalid settings: WEB_PORT: [^\n]+\n", done.stderr), done.stderr


def test_an_empty_port_counts_as_unset(tmp_path: Path, taken: int) -> None:
    done = run(tmp_path, "bridge", WEB_PORT="", WORKER_METRICS_HOST=HOST, WORKER_METRICS_PORT=str(taken))
    assert done.returncode == 1, "it got as far as the port that is taken"


def test_nothing_that_faust_would_read_changes_or_breaks_the_help(tmp_path: Path) -> None:
    plain = run(tmp_path, "--help")
    done = run(tmp_path, "--help", **dict.fromkeys((*FAUST_VARIABLES, *AT_IMPORT), "abc"))
    assert (done.returncode, done.stdout, done.stderr) == (0, plain.stdout, "")


def test_faust_apps_take_nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    plain = create_app(settings, "fold")
    plain.finalize()
    expected = {
        name: getattr(plain.conf, name) for name in ("stream_buffer_maxsize", "broker_request_timeout", "web_port")
    }
    for name in FAUST_VARIABLES:
        monkeypatch.setenv(name, "7")
    again = create_app(settings, "fold")
    again.finalize()
    assert {name: getattr(again.conf, name) for name in expected} == expected
    assert again.conf.table_standby_replicas == 0


@pytest.mark.parametrize("command", sorted(command_line.commands))
def test_lists_in_a_commands_help_are_not_folded(command: str) -> None:
    shown = CliRunner().invoke(command_line, [command, "--help"])
    assert shown.exit_code == 0
    assert "\\b" not in shown.output


def test_every_faust_app_is_made_without_the_environment() -> None:
    made = {
        f"{path.relative_to(ROOT)}:{call.lineno}": [keyword.arg for keyword in call.keywords]
        for package in ("agents", "app", "bridges", "projections", "tables")
        for path in (ROOT / package).rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ("faust.App", "App", "WebApp")
    }
    assert len(made) >= 3
    assert [place for place, keywords in made.items() if "env" not in keywords] == []


@pytest.mark.parametrize("command", ["bridge", "web", "all"])
def test_a_taken_metrics_port_is_one_line_and_exit_code_1(tmp_path: Path, command: str, taken: int) -> None:
    api = {"WEB_HOST": HOST, "WEB_PORT": str(free_port())}
    done = run(tmp_path, command, WORKER_METRICS_HOST=HOST, WORKER_METRICS_PORT=str(taken), **api)
    assert done.returncode == 1
    assert done.stderr == f"stopped: WORKER_METRICS_PORT: another process listens on port {taken} of {HOST}\n"


def test_a_taken_api_port_is_one_line_and_exit_code_1(tmp_path: Path, taken: int) -> None:
    done = run(tmp_path, "web", WEB_HOST=HOST, WEB_PORT=str(taken))
    assert done.returncode == 1
    assert done.stderr == f"stopped: WEB_PORT: another process listens on port {taken} of {HOST}\n"


def test_an_address_that_is_not_this_machines_is_told_with_its_variables(tmp_path: Path) -> None:
    done = run(tmp_path, "web", WEB_HOST="203.0.113.7")
    assert done.returncode == 1
    assert re.fullmatch(r"stopped: WEB_HOST, WEB_PORT: cannot listen on .+ of 203\.0\.113\.7: .+\n", done.stderr)


def test_the_lines_of_a_help_stay_as_they_are_written() -> None:
    for name in command_line.commands:
        shown = CliRunner().invoke(command_line, [name, "--help"]).output
        assert "\\b" not in shown
    assert "\n  remove PET VERSION  leave" in CliRunner().invoke(command_line, ["pins", "--help"]).output


def test_the_help_lists_our_commands_whole_and_none_of_fausts() -> None:
    shown = CliRunner().invoke(command_line, ["--help"], prog_name="app", terminal_width=80)
    assert shown.exit_code == 0
    listed = shown.output.partition("Commands:\n")[2]
    assert {"all", "bridge", "embed", "fold", "prepare", "project", "web"} <= set(re.findall(r"^  (\S+)", listed, re.M))
    assert "..." not in listed, "a line is cut off: shorten the command's docstring"
    for other in ("agents", "clean-versions", "completion", "livecheck", "model", "reset", "send", "worker"):
        assert other not in command_line.commands


def test_the_help_waits_for_no_client_and_no_array_library() -> None:
    heavy = ("numpy", "redis", "aiokafka", "asyncpg", "sqlalchemy", "rocksdict", "onnxruntime", "PIL")
    asked = f"import sys, app.__main__; print(*sorted(set(sys.modules) & set({heavy})))"
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_version_is_the_projects(tmp_path: Path) -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
    shown = CliRunner().invoke(command_line, ["--version"])
    assert shown.output.startswith(f"sploot-media-clustering {VERSION}, Faust ")


def test_the_app_of_the_commands_can_be_made_ready_without_any_setting() -> None:
    app.app.finalize()
    assert app.app.conf.id == "media-clustering"
