"""Every setting of the service, and the only module that reads the environment. Called by the commands of `app`.

Names are case-insensitive. A `.env` file in the working directory is read below the environment; unknown keys in it are
ignored. An empty value counts as unset. `app.commands.settings_table` makes docs/configuration.md from this class.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource, NoDecode, SettingsConfigDict

from schemas.bounds import MAX_INDEXED_DIMENSION
from schemas.facts import MIXTURE_POLICY, Policy
from schemas.topics import DEFAULT_PARTITIONS, RETRY_TIERS, Topics

DEFAULT_TOKEN: Final = "changeme"
"""Accepted in ENVIRONMENT=local only."""
INTERNAL_TOKEN_NAMES: Final = ("INTERNAL_TOKEN", "INTERNAL_SERVICE_TOKEN")
INVALID_SETTING_EXIT_CODE: Final = 2

ALL_ROLES_PORTS: Final = 6
"""How many consecutive ports `python -m app all` may take for metrics, from WORKER_METRICS_PORT on."""

Port = Annotated[int, Field(ge=1, le=65535)]
MetricsPort = Annotated[int, Field(ge=1, le=65536 - ALL_ROLES_PORTS)]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Delays = Annotated[tuple[float, ...], NoDecode]
Channels = Annotated[tuple[float, float, float] | None, NoDecode]
Strings = Annotated[tuple[str, ...], NoDecode]
ENGINE_POLICIES: Final = {"mixture": MIXTURE_POLICY, "leader-merge": Policy()}
SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


class SettingsError(Exception):
    """Settings are invalid. The text is one line that names each variable and why; it never holds a value."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{variable}: {reason}" for variable, reason in problems.items()))
        self.problems = dict(problems)


def _managed(known: dict[str, Any]) -> bool:
    """Whether the databases are managed ones, reached over a network."""
    return known.get("environment") not in {"local", "development"}


class Settings(BaseSettings):
    """The validated settings. Secrets are SecretStr: neither repr nor logs show them."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        env_ignore_empty=True,
        frozen=True,
        use_attribute_docstrings=True,
    )

    # Service
    environment: Literal["local", "development", "staging", "production"] = "local"
    """Where the service runs. Outside `local` the default token is refused; `/docs` and `/redoc` exist only in
    `development`."""
    app_name: str = Field(default="sploot-media-clustering", min_length=1)
    """Service name in logs."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """Lowest level that is logged."""
    worker_id: str = Field(default="1", pattern=r"^[A-Za-z0-9_.\-]{1,64}$")
    """Stable and unique among the workers of one role: a restarted worker takes its partitions back under it."""
    data_dir: Path = Path(".local/state")
    """Folder of the local table files and the model cache; one a worker."""
    shutdown_seconds: Seconds = 25.0
    """How long a role may take to end in good order after SIGTERM; then it ends itself with exit code 70. Supervisors
    must wait longer before they kill."""
    watchdog_seconds: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 120.0
    """An embed or fold worker that has work and finishes none for this long ends itself with exit code 70."""

    # HTTP
    web_host: str = "0.0.0.0"
    """Address that the API binds."""
    web_port: Port = 9007
    """Port of the API."""
    web_max_body_bytes: Positive = 1_048_576
    """Largest request body; a larger one is answered with 413."""
    web_store_timeout_seconds: Seconds = 5.0
    """How long a request waits for Redis, for Postgres and for Kafka's word, each."""
    web_decision_wait_seconds: Seconds = 2.0
    """How long a request waits for what becomes of its decision before it is answered with 202."""
    web_cache_timeout_seconds: Seconds = 0.5
    """How long a read of current clusters waits for Redis before it asks Postgres."""
    internal_token: SecretStr = Field(
        default=SecretStr(DEFAULT_TOKEN),
        validation_alias=AliasChoices(*INTERNAL_TOKEN_NAMES),
        validate_default=True,
    )
    """Secret that callers send as `X-Internal-Token`. `INTERNAL_SERVICE_TOKEN` is read as an alias."""
    internal_token_previous: SecretStr | None = None
    """Second valid token, while callers change from it to `INTERNAL_TOKEN`."""
    readyz_peers: Strings = ()
    """Comma list of other roles' `/readyz` URLs (or `name=URL`) whose checks the API's `/readyz` includes."""
    worker_metrics_enabled: bool = True
    """Whether each role serves `/metrics`, `/healthz` and `/readyz`."""
    worker_metrics_host: str = "0.0.0.0"
    """Address that `/metrics` binds."""
    worker_metrics_port: MetricsPort = 9105
    """Port of `/metrics`. Under `all` the first of consecutive ones, one a role."""
    prometheus_multiproc_dir: Path | None = None
    """Folder in which several processes of one machine share their metrics. prometheus-client reads the variable
    itself, at import; the supervisor sets it."""

    # Redis
    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """Redis with the job stream and the answer cache."""
    redis_username: str | None = None
    """User name, when not in the URL."""
    redis_password: SecretStr | None = None
    """Password, when not in the URL."""
    redis_ssl: bool = False
    """Connect with TLS."""
    redis_ssl_ca_certs: Path | None = None
    """File with the certificate authorities to trust."""
    redis_pool_max_connections: Positive = 20
    """Most connections a process opens."""
    redis_socket_timeout: Seconds | None = None
    """Seconds to wait for a reply; unset waits for ever."""
    redis_socket_connect_timeout: Seconds = 5.0
    """Seconds to wait for a connection."""
    redis_healthcheck_interval: Annotated[int, Field(ge=0)] = 30
    """Seconds after which an idle connection is checked before use; 0 never checks."""
    redis_retry_on_timeout: bool = True
    """Repeat a call once that timed out."""
    namespace: str = Field(default="sploot.media.clusters", min_length=1)
    """Prefix of the cache's keys: `{NAMESPACE}:state:{pet_id}`."""
    cluster_ttl_seconds: Positive = 86_400
    """How long a cached answer lives."""

    # Job stream
    cluster_stream_key: str = Field(default="streams:media.cluster", min_length=1)
    """The Redis Stream that jobs come from."""
    cluster_dead_letter_stream: str = Field(default="streams:media.cluster.deadletter", min_length=1)
    """The Redis Stream for entries that can never succeed."""
    cluster_stream_maxlen: Positive = 10_000
    """Most entries of the dead-letter stream, about. The job stream itself is trimmed to what every group has
    acknowledged, never past unread jobs, whatever this says."""
    cluster_stream_approximate_trim: bool = True
    """Trim by whole nodes (`~`), which is cheaper."""
    cluster_consumer_group: str = Field(default="media-clustering-workers", min_length=1)
    """Consumer group of the bridge."""
    cluster_worker_consumer_name: str = Field(default="media-clustering-worker", min_length=1)
    """Consumer name; unique for each bridge."""
    cluster_read_timeout_ms: Positive = 5_000
    """How long one blocking read waits for entries."""
    cluster_read_count: Positive = 16
    """Most entries of one read."""
    cluster_retry_idle_ms: Positive = 60_000
    """Pending entries that lie idle for longer are taken over."""
    cluster_max_attempts: Positive = 5
    """Tries of an image, each after the first by a command that waits in a retry topic, and of an entry whose relay
    fails unexpectedly; the first counts."""
    cluster_retry_delays_seconds: Delays = (5.0, 60.0, 600.0)
    """Three numbers, comma-separated: how long an image waits for its second, its third and every later try."""
    requeue_rate_per_second: Seconds = 20.0
    """Most commands a second that requeued dead letters are turned into, each bridge for itself."""

    # Sweeper
    sweep_interval_seconds: Seconds = 60.0
    """How often the projectors look for commands whose outcome is missing."""
    sweep_deadline_seconds: Seconds = 1800.0
    """How old such a command must be to be submitted again, and how long it is then left alone."""
    sweep_rate_per_second: Positive = 10
    """Most commands a second that are submitted again."""

    # Kafka
    kafka_bootstrap_servers: str = Field(default="127.0.0.1:9092", min_length=1)
    """Comma list of `host:port`."""
    kafka_topic_prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._\-]{0,64}$")
    """Put before every topic and group name; separates deployments on one cluster."""
    kafka_partitions: Annotated[int, Field(ge=1, le=1024)] = DEFAULT_PARTITIONS
    """Partitions of each topic, given when the topics are made and never changed."""
    kafka_replication_factor: Annotated[int, Field(ge=1, le=32767)] = 1
    """Replicas of each topic; 3 in production."""
    kafka_session_timeout_seconds: Annotated[float, Field(ge=6, le=1800, allow_inf_nan=False)] = 10.0
    """After this long without a heartbeat a worker's partitions go to others, and the worker ends itself."""

    # Postgres
    database_url: SecretStr = SecretStr("postgresql://postgres:postgres@localhost:5433/media_clusters")
    """Postgres with the projections."""
    database_pool_size: Positive = 5
    """Most connections a process opens; 15-30 in production."""
    database_statement_timeout_ms: Positive = Field(default_factory=lambda known: 15_000 if _managed(known) else 30_000)
    """Longest statement. Default 30000 in `local` and `development`, else 15000."""
    database_ssl_mode: SslMode = Field(default_factory=lambda known: "require" if _managed(known) else "disable")
    """TLS towards Postgres. Default `disable` in `local` and `development`, else `require`."""
    retention_days: Positive = 90
    """Days of history to keep in Postgres: versions, beside the pinned ones and each pet's last, and dead letters that
    were requeued or discarded."""
    retention_interval_seconds: Seconds = 3600.0
    """How often the projectors delete what is older."""

    # Rollout; the order is that of the checks between them
    project_postgres: bool = True
    """Whether the role `project` writes Postgres, sweeps and trims. Off, it rests; on again, it goes on where it
    was."""
    project_redis: bool = Field(default=True, validate_default=True)
    """Whether the role `project` brings new answers to Redis. Needs `PROJECT_POSTGRES`, since they are made from its
    rows."""
    read_unwritten: bool = False
    """Allow reading a store that is not written: answers stand still, those of Redis for up to
    `CLUSTER_TTL_SECONDS`."""
    read_postgres: bool = Field(default=True, validate_default=True)
    """Whether the API reads Postgres. Off, it answers from Redis alone; all that needs Postgres is answered with 503,
    code `reading_off`."""
    read_redis: bool = Field(default=True, validate_default=True)
    """Whether the API reads current answers from Redis, and puts there what it had to take from Postgres."""

    # Comparison with the predecessor: `python -m app compare`
    predecessor_url: str | None = Field(default=None, pattern=r"^https?://[^\s]+$")
    """Base URL of the predecessor's API."""
    predecessor_token: SecretStr = Field(default_factory=lambda known: known.get("internal_token", SecretStr("")))
    """What the predecessor takes as `X-Internal-Token`. Default `INTERNAL_TOKEN`."""
    predecessor_redis_url: SecretStr | None = None
    """Redis with the predecessor's answers, where its API is not to be asked."""
    predecessor_namespace: str = Field(default="sploot.media.clusters", min_length=1)
    """Prefix of the predecessor's keys there."""

    # Images
    storage_service_url: str = Field(default="http://localhost:8000", pattern=r"^https?://[^\s]+$")
    """Storage service: `GET {url}/internal/images/{id}`."""
    storage_service_token: SecretStr = Field(default_factory=lambda known: known.get("internal_token", SecretStr("")))
    """Bearer token for the storage service. Default `INTERNAL_TOKEN`."""
    image_source: str | None = None
    """fsspec URL template with `{image_id}`, e.g. `s3://bucket/{image_id}.jpg`; replaces the storage service. Some
    need a package beside the lock, `s3://` needs `s3fs` in fsspec's version."""
    image_max_bytes: Positive = 20_000_000
    """Largest image file."""
    image_max_pixels: Positive = 50_000_000
    """Most pixels of an image, checked before it is decoded."""
    image_timeout_seconds: Seconds = 10.0
    """Longest fetch of one image."""
    image_concurrency: Positive = 16
    """Images fetched at the same time."""

    # Model
    embedding_model_name: str = Field(default="efficientnet-lite0", pattern=r"^[A-Za-z0-9_.\-]{1,64}$")
    """Name recorded with every vector."""
    embedding_model_version: str = Field(default="1", pattern=r"^[A-Za-z0-9_.\-]{1,32}$")
    """Version recorded with every vector."""
    embedding_device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes CUDA where it is there; `cuda` refuses to start without it."""
    embedding_batch_size: Annotated[int, Field(ge=1, le=1024)] = 16
    """Most images of one inference."""
    embedding_constant_time_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Benchmarks only: replaces the model by one that takes this long for a batch."""
    model_path: Path | None = None
    """ONNX file. Unset builds the default model into the cache."""
    model_input_size: Annotated[int, Field(ge=1, le=4096)] = 224
    """Side of the model's square input in pixels."""
    model_dimension: Annotated[int, Field(ge=1, le=16384)] = 1280
    """Length of the model's output vector."""
    model_mean: Channels = None
    """Three numbers, comma-separated: mean of R, G, B in 0…1. Unset: the default model's."""
    model_std: Channels = None
    """Three numbers, comma-separated: standard deviation of R, G, B. Unset: the default model's."""

    # Clustering
    cluster_engine: Literal["mixture", "leader-merge"] = "mixture"
    """What groups the photos. Recorded in the first policy."""
    max_cluster_size: Positive = 24
    """Members that an answer lists for a cluster; the cluster may be larger. Recorded in the first policy."""
    clustering_min_samples: Positive = 2
    """Images that make a cluster. Recorded in the first policy."""
    clustering_eps: float = 0.3
    """Accepted for older deployments; has no effect."""

    # Similarity across pets
    similarity: bool = False
    """Whether the role `project` indexes vectors for the search across pets. Needs the Postgres extension `vector`
    (pgvector) from 0.8 on, which `prepare` then makes, and a `MODEL_DIMENSION` of at most 4000."""
    similarity_token: SecretStr | None = None
    """Secret that callers who may search other pets send as `X-Similarity-Token`, beside `X-Internal-Token`. Unset,
    nobody may. Needs `SIMILARITY`."""
    similarity_token_previous: SecretStr | None = None
    """Second valid token, while callers change from it to `SIMILARITY_TOKEN`."""

    @field_validator("readyz_peers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("model_mean", "model_std", mode="before")
    @classmethod
    def _channels(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            numbers = tuple(float(part) for part in value.split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
            raise ValueError("must be three numbers, comma-separated")
        return numbers

    @field_validator("cluster_retry_delays_seconds", mode="before")
    @classmethod
    def _delays(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            delays = tuple(float(part) for part in value.split(","))
        except ValueError:
            delays = ()
        if len(delays) != RETRY_TIERS or not all(0 < delay < math.inf for delay in delays):
            raise ValueError(f"must be {RETRY_TIERS} positive numbers, comma-separated")
        return delays

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("readyz_peers")
    @classmethod
    def _peers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(peer.partition("://")[0].rpartition("=")[2] in {"http", "https"} for peer in value):
            raise ValueError("must be http:// or https:// URLs, each with an optional name= before it")
        return value

    @field_validator("internal_token", "internal_token_previous", "similarity_token", "similarity_token_previous")
    @classmethod
    def _token(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        # An ENVIRONMENT that is not valid is missing here, and is what the complaint is about.
        if value is None or info.data.get("environment", "local") == "local":
            return value
        if value.get_secret_value() == DEFAULT_TOKEN:
            raise ValueError("the default token is refused outside ENVIRONMENT=local")
        return value

    @field_validator("similarity")
    @classmethod
    def _indexable(cls, value: bool, info: ValidationInfo) -> bool:
        dimension = info.data.get("model_dimension", 0)
        if value and dimension > MAX_INDEXED_DIMENSION:
            raise ValueError(f"vectors of {dimension} values cannot be indexed, at most {MAX_INDEXED_DIMENSION} can")
        return value

    @field_validator("similarity_token", "similarity_token_previous")
    @classmethod
    def _similarity_token(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None:
            return value
        if info.data.get("similarity") is False:
            raise ValueError("needs SIMILARITY, without which nothing is indexed; set that to true, or leave this out")
        if value in (info.data.get("internal_token"), info.data.get("internal_token_previous")):
            raise ValueError("must not be INTERNAL_TOKEN, which would let every caller search other pets")
        return value

    @field_validator("project_redis")
    @classmethod
    def _filled_from_postgres(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("project_postgres") is False:
            raise ValueError("needs PROJECT_POSTGRES, whose rows answers are made from; set both to false")
        return value

    @field_validator("read_postgres", "read_redis")
    @classmethod
    def _written(cls, value: bool, info: ValidationInfo) -> bool:
        writing = str(info.field_name).replace("read_", "project_")
        if value and info.data.get(writing) is False and not info.data.get("read_unwritten"):
            raise ValueError(
                f"{writing.upper()} is false, so that answers would stand still; set this to false too, or"
                " READ_UNWRITTEN to true"
            )
        return value

    @field_validator("redis_url", "predecessor_redis_url")
    @classmethod
    def _redis_scheme(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and value.get_secret_value().partition("://")[0] not in {"redis", "rediss", "unix"}:
            raise ValueError("must start with redis://, rediss:// or unix://")
        return value

    @field_validator("database_url")
    @classmethod
    def _database_scheme(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("must start with postgresql://")
        return value

    @field_validator("image_source")
    @classmethod
    def _image_template(cls, value: str | None) -> str | None:
        if value is not None and ("{image_id}" not in value or "://" not in value):
            raise ValueError("must be an fsspec URL that holds {image_id}, e.g. file:///photos/{image_id}.jpg")
        return value

    def topics(self) -> Topics:
        """The names of this deployment's topics."""
        return Topics(self.kafka_topic_prefix)

    def policy(self) -> Policy:
        """The policy that is recorded when the topics are made. Its id names the settings it was made from."""
        default = ENGINE_POLICIES[self.cluster_engine]
        sizes = (self.clustering_min_samples, self.max_cluster_size)
        if sizes == (default.min_cluster_size, default.max_cluster_size):
            return default
        return msgspec.structs.replace(
            default,
            policy_id="{}-settings-{}-{}".format(default.policy_id, *sizes),
            min_cluster_size=sizes[0],
            max_cluster_size=sizes[1],
        )

    def switches(self) -> dict[str, bool]:
        """The switches of a rollout, as roles log them when they start."""
        names = ("project_postgres", "project_redis", "read_postgres", "read_redis", "read_unwritten")
        return {name: getattr(self, name) for name in names}

    def tokens(self) -> tuple[str, ...]:
        """The tokens that callers may send now."""
        return _given(self.internal_token, self.internal_token_previous)

    def similarity_tokens(self) -> tuple[str, ...]:
        """The tokens with which callers may search other pets now; none: nobody may."""
        return _given(self.similarity_token, self.similarity_token_previous)


def _given(*secrets: SecretStr | None) -> tuple[str, ...]:
    texts = [secret.get_secret_value() for secret in secrets if secret is not None]
    return tuple(text for text in texts if text)


def load_settings() -> Settings:
    """Read the environment and `.env`. Raises SettingsError naming what is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError(_problems(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError({".env": f"cannot be read: {type(error).__name__}"}) from None


def given_settings() -> dict[str, str]:
    """The settings that the environment or `.env` gives: variable in upper case → its text, unchecked."""
    known = {name.lower() for name in (*Settings.model_fields, *INTERNAL_TOKEN_NAMES)}
    texts = {**DotEnvSettingsSource(Settings).env_vars, **EnvSettingsSource(Settings).env_vars}
    return {name.upper(): text for name, text in texts.items() if text and name.lower() in known}


def _problems(error: ValidationError) -> dict[str, str]:
    # An error's input may be a secret, so only its place and its reason are told: the first, where there are several.
    found: dict[str, str] = {}
    for each in error.errors(include_url=False, include_input=False, include_context=False):
        if each["loc"] and each["type"] != "default_factory_not_called":
            found.setdefault(str(each["loc"][0]).upper(), each["msg"].removeprefix("Value error, "))
    return found
