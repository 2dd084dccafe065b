"""Settings: every variable under its name, one line for what is wrong, no secret shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.commands.settings_table import DOCUMENT, render
from app.settings import DEFAULT_TOKEN, Settings, SettingsError, given_settings, load_settings
from schemas.facts import MIXTURE_POLICY, Policy

ROOT = Path(__file__).parents[2]
KNOWN_DEFAULTS = {
    "ENVIRONMENT": "local",
    "APP_NAME": "sploot-media-clustering",
    "INTERNAL_TOKEN": "changeme",
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "REDIS_USERNAME": None,
    "REDIS_PASSWORD": None,
    "REDIS_SSL": False,
    "REDIS_SSL_CA_CERTS": None,
    "REDIS_POOL_MAX_CONNECTIONS": 20,
    "REDIS_SOCKET_TIMEOUT": None,
    "REDIS_SOCKET_CONNECT_TIMEOUT": 5.0,
    "REDIS_HEALTHCHECK_INTERVAL": 30,
    "REDIS_RETRY_ON_TIMEOUT": True,
    "NAMESPACE": "sploot.media.clusters",
    "CLUSTER_TTL_SECONDS": 86400,
    "MAX_CLUSTER_SIZE": 24,
    "CLUSTER_STREAM_KEY": "streams:media.cluster",
    "CLUSTER_DEAD_LETTER_STREAM": "streams:media.cluster.deadletter",
    "CLUSTER_STREAM_MAXLEN": 10000,
    "CLUSTER_STREAM_APPROXIMATE_TRIM": True,
    "CLUSTER_CONSUMER_GROUP": "media-clustering-workers",
    "CLUSTER_WORKER_CONSUMER_NAME": "media-clustering-worker",
    "CLUSTER_READ_TIMEOUT_MS": 5000,
    "CLUSTER_READ_COUNT": 16,
    "CLUSTER_RETRY_IDLE_MS": 60000,
    "CLUSTER_MAX_ATTEMPTS": 5,
    "WORKER_METRICS_ENABLED": True,
    "WORKER_METRICS_HOST": "0.0.0.0",
    "WORKER_METRICS_PORT": 9105,
    "DATABASE_URL": "postgresql://postgres:postgres@localhost:5433/media_clusters",
    "DATABASE_POOL_SIZE": 5,
    "DATABASE_STATEMENT_TIMEOUT_MS": 30000,
    "DATABASE_SSL_MODE": "disable",
    "RETENTION_DAYS": 90,
    "STORAGE_SERVICE_URL": "http://localhost:8000",
    "EMBEDDING_MODEL_NAME": "efficientnet-lite0",
    "EMBEDDING_DEVICE": "auto",
    "CLUSTERING_EPS": 0.3,
    "CLUSTERING_MIN_SAMPLES": 2,
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9092",
    "KAFKA_PARTITIONS": 12,
    "WEB_PORT": 9007,
}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting from the machine, an empty working directory."""
    known = {name.upper() for name in Settings.model_fields} | {"INTERNAL_SERVICE_TOKEN"}
    for name in list(os.environ):
        if name.upper() in known:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("variable", "default"), KNOWN_DEFAULTS.items())
def test_defaults_are_the_documented_ones(variable: str, default: object) -> None:
    value = getattr(load_settings(), variable.lower())
    assert (value.get_secret_value() if hasattr(value, "get_secret_value") else value) == default


def test_names_are_read_in_any_case_and_before_the_dotenv_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("WEB_PORT=1111\ncluster_read_count=3\nAPI_HOST=ignored\nREDIS_PASSWORD=\n")
    monkeypatch.setenv("web_port", "2222")
    settings = load_settings()
    assert (settings.web_port, settings.cluster_read_count, settings.redis_password) == (2222, 3, None)


@pytest.mark.parametrize("variable", ["INTERNAL_TOKEN", "INTERNAL_SERVICE_TOKEN"])
def test_the_token_is_read_under_both_names(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "hush")
    monkeypatch.setenv("INTERNAL_TOKEN_PREVIOUS", "older")
    settings = load_settings()
    assert settings.tokens() == ("hush", "older")
    assert settings.storage_service_token.get_secret_value() == "hush"


@pytest.mark.parametrize("environment", ["development", "staging", "production"])
@pytest.mark.parametrize("variable", ["INTERNAL_TOKEN", "INTERNAL_TOKEN_PREVIOUS"])
def test_the_default_token_is_refused_outside_local(
    monkeypatch: pytest.MonkeyPatch, environment: str, variable: str
) -> None:
    monkeypatch.setenv("ENVIRONMENT", environment)
    if variable == "INTERNAL_TOKEN_PREVIOUS":
        monkeypatch.setenv("INTERNAL_TOKEN", "hush")
        monkeypatch.setenv(variable, DEFAULT_TOKEN)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert str(raised.value) == f"{variable}: the default token is refused outside ENVIRONMENT=local"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"SIMILARITY_TOKEN": "own"}, "SIMILARITY_TOKEN: needs SIMILARITY"),
        ({"SIMILARITY": "true", "SIMILARITY_TOKEN": "hush"}, "SIMILARITY_TOKEN: must not be INTERNAL_TOKEN"),
        ({"SIMILARITY": "true", "SIMILARITY_TOKEN_PREVIOUS": "hush"}, "SIMILARITY_TOKEN_PREVIOUS: must not be"),
        ({"SIMILARITY": "true", "SIMILARITY_TOKEN": DEFAULT_TOKEN}, "SIMILARITY_TOKEN: the default token is refused"),
        ({"SIMILARITY": "true", "MODEL_DIMENSION": "4001"}, "SIMILARITY: vectors of 4001 values cannot be indexed"),
    ],
)
def test_the_search_across_pets_needs_an_index_and_a_token_of_its_own(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], problem: str
) -> None:
    for name, value in {"ENVIRONMENT": "staging", "INTERNAL_TOKEN": "hush", **given}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert str(raised.value).startswith(problem)
    assert "hush" not in str(raised.value)


def test_either_token_of_the_search_across_pets_is_valid_and_none_is_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert (load_settings().similarity, load_settings().similarity_tokens()) == (False, ())
    monkeypatch.setenv("SIMILARITY", "true")
    assert load_settings().similarity_tokens() == ()
    monkeypatch.setenv("SIMILARITY_TOKEN", "own")
    monkeypatch.setenv("SIMILARITY_TOKEN_PREVIOUS", "before")
    assert load_settings().similarity_tokens() == ("own", "before")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [("local", (30_000, "disable")), ("development", (30_000, "disable")), ("production", (15_000, "require"))],
)
def test_managed_databases_get_stricter_defaults(
    monkeypatch: pytest.MonkeyPatch, environment: str, expected: tuple[int, str]
) -> None:
    monkeypatch.setenv("ENVIRONMENT", environment)
    monkeypatch.setenv("INTERNAL_TOKEN", "hush")
    settings = load_settings()
    assert (settings.database_statement_timeout_ms, settings.database_ssl_mode) == expected


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ENVIRONMENT", "moon"),
        ("WEB_PORT", "70000"),
        ("WEB_PORT", "0"),
        ("WORKER_METRICS_PORT", "0"),
        ("WORKER_METRICS_PORT", "65531"),
        ("CLUSTER_READ_COUNT", "0"),
        ("CLUSTER_READ_COUNT", "many"),
        ("REDIS_SSL", "perhaps"),
        ("REDIS_URL", "http://secret-host"),
        ("DATABASE_URL", "mysql://u:hush@h/d"),
        ("MODEL_MEAN", "0.1,0.2"),
        ("MODEL_STD", "a,b,c"),
        ("MODEL_STD", "1,2,nan"),
        ("CLUSTER_RETRY_DELAYS_SECONDS", "5,60"),
        ("CLUSTER_RETRY_DELAYS_SECONDS", "5,60,0"),
        ("CLUSTER_RETRY_DELAYS_SECONDS", "5,60,soon"),
        ("REQUEUE_RATE_PER_SECOND", "0"),
        ("PREDECESSOR_URL", "secret-host:8000"),
        ("PREDECESSOR_REDIS_URL", "http://secret-host"),
        ("IMAGE_SOURCE", "s3://bucket/x.jpg"),
        ("READYZ_PEERS", "fold"),
        ("LOG_LEVEL", "loud"),
        ("IMAGE_TIMEOUT_SECONDS", "inf"),
        ("KAFKA_TOPIC_PREFIX", "a/b"),
        ("EMBEDDING_DEVICE", "tpu"),
    ],
)
def test_a_bad_value_is_one_line_with_the_variable_and_no_value(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    line = str(raised.value)
    assert re.match(rf"{variable}: .+", line)
    assert "\n" not in line
    assert "hush" not in line
    assert "secret-host" not in line


@pytest.mark.parametrize(
    ("off", "complaints"),
    [
        ("PROJECT_POSTGRES", {"PROJECT_REDIS": "PROJECT_POSTGRES", "READ_POSTGRES": "PROJECT_POSTGRES"}),
        ("PROJECT_POSTGRES PROJECT_REDIS", {"READ_POSTGRES": "PROJECT_POSTGRES", "READ_REDIS": "PROJECT_REDIS"}),
        ("PROJECT_POSTGRES PROJECT_REDIS READ_REDIS", {"READ_POSTGRES": "PROJECT_POSTGRES"}),
        ("PROJECT_REDIS", {"READ_REDIS": "PROJECT_REDIS"}),
        ("PROJECT_POSTGRES PROJECT_REDIS READ_POSTGRES READ_REDIS", {}),
        ("PROJECT_REDIS READ_REDIS", {}),
        ("READ_POSTGRES READ_REDIS", {}),
        ("READ_POSTGRES", {}),
        ("READ_REDIS", {}),
    ],
)
def test_a_store_that_is_not_written_is_read_only_knowingly(
    monkeypatch: pytest.MonkeyPatch, off: str, complaints: dict[str, str]
) -> None:
    for name in off.split():
        monkeypatch.setenv(name, "false")
    if complaints:
        with pytest.raises(SettingsError) as raised:
            load_settings()
        assert list(raised.value.problems) == list(complaints)
        assert all(other in raised.value.problems[name] for name, other in complaints.items())
        monkeypatch.setenv("READ_UNWRITTEN", "true")
    if off == "PROJECT_POSTGRES":  # whatever is read, Redis is filled from rows
        with pytest.raises(SettingsError, match=r"^PROJECT_REDIS: needs PROJECT_POSTGRES"):
            load_settings()
        return
    given = load_settings().switches()
    assert {name.upper() for name, on in given.items() if not on} - {"READ_UNWRITTEN"} == set(off.split())


@pytest.mark.parametrize("value", ["1,2", "a,b,c", "1,2,3,4", "0.1, ,0.2", "1,2,inf"])
def test_channels_are_told_once_and_plainly(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MODEL_MEAN", value)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert str(raised.value) == "MODEL_MEAN: must be three numbers, comma-separated"


def test_a_wrong_environment_is_the_only_complaint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "prod")
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert list(raised.value.problems) == ["ENVIRONMENT"]


def test_several_problems_are_one_line_with_each_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_PORT", "abc")
    monkeypatch.setenv("LOG_LEVEL", "loud")
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert sorted(raised.value.problems) == ["LOG_LEVEL", "WEB_PORT"]
    assert re.fullmatch(r"LOG_LEVEL: .+; WEB_PORT: .+", str(raised.value))


def test_what_is_given_is_told_without_defaults_and_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("WEB_PORT=1\nLOG_LEVEL=DEBUG\nAPI_HOST=no setting\n")
    monkeypatch.setenv("web_port", "abc")
    monkeypatch.setenv("REDIS_URL", "")
    monkeypatch.setenv("INTERNAL_SERVICE_TOKEN", "hush")
    assert given_settings() == {"WEB_PORT": "abc", "LOG_LEVEL": "DEBUG", "INTERNAL_SERVICE_TOKEN": "hush"}


def test_secrets_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("INTERNAL_TOKEN", "INTERNAL_TOKEN_PREVIOUS", "REDIS_PASSWORD", "STORAGE_SERVICE_TOKEN"):
        monkeypatch.setenv(variable, "hush")
    monkeypatch.setenv("REDIS_URL", "redis://:hush@h/0")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hush@h/d")
    settings = load_settings()
    for shown in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert "hush" not in shown


def test_lists_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READYZ_PEERS", "fold=http://h:1/readyz, http://h:2/readyz")
    monkeypatch.setenv("MODEL_MEAN", "0.5, 0.25,1")
    monkeypatch.setenv("CLUSTER_RETRY_DELAYS_SECONDS", "0.5, 1,2")
    settings = load_settings()
    assert settings.readyz_peers == ("fold=http://h:1/readyz", "http://h:2/readyz")
    assert settings.model_mean == (0.5, 0.25, 1.0)
    assert settings.cluster_retry_delays_seconds == (0.5, 1.0, 2.0)


def test_the_policy_records_the_cluster_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().policy() == MIXTURE_POLICY
    monkeypatch.setenv("MAX_CLUSTER_SIZE", "10")
    monkeypatch.setenv("CLUSTERING_MIN_SAMPLES", "3")
    policy = load_settings().policy()
    assert (policy.max_cluster_size, policy.min_cluster_size) == (10, 3)
    assert policy.policy_id != MIXTURE_POLICY.policy_id
    monkeypatch.undo()
    monkeypatch.setenv("CLUSTER_ENGINE", "leader-merge")
    assert load_settings().policy() == Policy()


def test_topics_carry_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_TOPIC_PREFIX", "staging.")
    assert load_settings().topics().jobs.name == "staging.media.jobs"


def test_the_configuration_page_is_up_to_date() -> None:
    """When this fails, run `python -m app.commands.settings_table`."""
    assert (ROOT / DOCUMENT).read_text(encoding="utf-8") == render()


@pytest.mark.parametrize(
    ("setting", "truth"),
    [
        ("cluster_stream_maxlen", "dead-letter stream"),
        ("cluster_max_attempts", "waits in a retry topic"),
        ("retention_days", "beside the pinned ones"),
    ],
)
def test_what_a_setting_does_not_do_is_not_promised(setting: str, truth: str) -> None:
    assert truth in " ".join((Settings.model_fields[setting].description or "").split())


def test_every_setting_is_explained() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_only_the_settings_read_the_environment() -> None:
    pattern = re.compile(r"os\.environ|os\.getenv|load_dotenv")
    readers = {
        str(path.relative_to(ROOT))
        for package in ("agents", "bridges", "projections", "schemas", "tables", "app/views", "app/telemetry")
        for path in (ROOT / package).rglob("*.py")
        if pattern.search(path.read_text(encoding="utf-8"))
    }
    assert readers == {"agents/embedder/__init__.py"}, "which reads nothing: it turns onnxruntime's telemetry off"


def test_importing_the_settings_reads_nothing() -> None:
    """A bad environment is told by `load_settings`, not by a traceback at import."""
    done = subprocess.run(
        [sys.executable, "-c", "import app.settings"],
        cwd=ROOT,
        env={**os.environ, "ENVIRONMENT": "moon"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
