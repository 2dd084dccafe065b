"""Every metric of the service with its meaning: one typed list. Used by `app.telemetry.metrics` and by whoever wires.

The four `media_cluster_*` of the first block keep the names and labels that existing dashboards know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

GaugeMode = Literal["livesum", "livemax", "livemostrecent"]


@dataclass(frozen=True)
class CounterDef:
    """Counts up. The exposition adds `_total` to the name."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class GaugeDef:
    """Holds a value. `mode`: how the values of several processes of one machine become one."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    mode: GaugeMode = "livesum"


@dataclass(frozen=True)
class HistogramDef:
    """Collects observations in `buckets` (upper bounds)."""

    name: str
    meaning: str
    buckets: tuple[float, ...]
    labels: tuple[str, ...] = ()


MetricDef = CounterDef | GaugeDef | HistogramDef

_FAST: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SLOW: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

# Jobs
# Existing dashboards know all of these; this release never counts retry, skipped and failure, which stay 0.
JOB_RESULTS: Final = ("success", "retry", "dead_letter", "invalid", "skipped", "failure")
JOBS_PROCESSED: Final = CounterDef("media_cluster_jobs_processed", "Jobs by how they ended.", ("result",))
JOB_SECONDS: Final = HistogramDef(
    "media_cluster_job_processing_seconds",
    "From enqueued to settled, successful jobs only.",
    (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0),
)
PENDING_JOBS: Final = GaugeDef("media_cluster_pending_jobs", "Stream entries read and not acknowledged.")
STREAM_LAG: Final = GaugeDef(
    "media_cluster_stream_lag_seconds", "Idle time of the oldest pending stream entry.", mode="livemax"
)

# Bridge
BRIDGE_RELAYED: Final = CounterDef("media_cluster_bridge_relayed", "Stream entries handed over to Kafka.")
BRIDGE_LOST: Final = CounterDef(
    "media_cluster_bridge_lost", "Stream entries cut by a producer's MAXLEN before they were handed over: never normal."
)
BRIDGE_TRIMMED: Final = CounterDef("media_cluster_bridge_trimmed", "Acknowledged stream entries that were trimmed.")
BRIDGE_UNREAD: Final = GaugeDef(
    "media_cluster_bridge_unread", "Stream entries that no consumer of the group has read.", mode="livemax"
)
RETRIES_RELAYED: Final = CounterDef(
    "media_cluster_retries_relayed", "Commands whose next try was due, handed over to media.jobs.", ("tier",)
)
RETRIES_WAITING: Final = GaugeDef("media_cluster_retries_waiting", "Commands that wait for their next try.")
REQUEUED: Final = CounterDef("media_cluster_requeued_commands", "Commands submitted for requeued dead letters.")
ACTIONS_INVALID: Final = CounterDef(
    "media_cluster_dead_letter_actions_invalid", "Records of media.deadletter.actions that are no action: skipped."
)
ACTIONS_WAITING: Final = GaugeDef(
    "media_cluster_dead_letter_actions_waiting", "Actions on dead letters that are not executed yet."
)

# Embed
IMAGES_EMBEDDED: Final = CounterDef("media_cluster_images_embedded", "Images turned into vectors.")
IMAGES_KNOWN: Final = CounterDef("media_cluster_images_known", "Images not fetched: embedded before by this model.")
IMAGES_PENDING: Final = CounterDef("media_cluster_images_pending", "Images that wait for another try.")
IMAGE_FAILURES: Final = CounterDef("media_cluster_image_failures", "Images that could not be used.", ("kind",))
BATCH_IMAGES: Final = HistogramDef(
    "media_cluster_embed_batch_images", "Images in one inference.", (1, 2, 4, 8, 16, 32, 64)
)
FILE_BYTES: Final = HistogramDef(
    "media_cluster_image_file_bytes", "Size of one fetched image file.", (1e4, 1e5, 5e5, 1e6, 2.5e6, 5e6, 1e7, 2e7)
)
FETCH_SECONDS: Final = HistogramDef("media_cluster_image_fetch_seconds", "Fetch of one image.", _SLOW)
DECODE_SECONDS: Final = HistogramDef("media_cluster_image_decode_seconds", "Decoding of one image.", _SLOW)
INFERENCE_SECONDS: Final = HistogramDef("media_cluster_inference_seconds", "Inference of one batch.", _SLOW)

# Fold
EVENTS_FOLDED: Final = CounterDef("media_cluster_events_folded", "Log events folded, repeats not counted.")
EVENTS_REPEATED: Final = CounterDef("media_cluster_events_repeated", "Log events seen again and answered from state.")
VERSIONS: Final = CounterDef("media_cluster_versions", "Versions made.")
FOLD_SECONDS: Final = HistogramDef("media_cluster_fold_seconds", "Folding of one event, publishing not counted.", _FAST)

# Delivery
DELIVERY_OPEN: Final = GaugeDef(
    "media_cluster_delivery_open_events", "Events whose effects the broker has not yet confirmed."
)
DEAD_LETTERS: Final = CounterDef(
    "media_cluster_dead_letters",
    "Dead letters of all roles, counted by the projector when it writes them to Postgres; repeats are not counted.",
    ("subject",),
)
OPEN_LETTERS: Final = GaugeDef(
    "media_cluster_dead_letters_open", "Dead letters that nobody has requeued or discarded.", mode="livemax"
)
UNREADABLE_LETTERS: Final = CounterDef(
    "media_cluster_dead_letters_unreadable", "Messages on the dead-letter topic that are no dead letter: passed over."
)

# Projection
VERSIONS_APPLIED: Final = CounterDef("media_cluster_versions_applied", "Versions written to Postgres.")
VERSIONS_SKIPPED: Final = CounterDef("media_cluster_versions_skipped", "Versions that Postgres held already.")
PROJECTION_GAPS: Final = CounterDef("media_cluster_projection_gaps", "Versions that did not follow the one before.")
VERSIONS_REPLAYED: Final = CounterDef("media_cluster_versions_replayed", "Versions read from the log to fill a gap.")
PETS_PURGED: Final = CounterDef("media_cluster_pets_purged", "Purges of pets carried out in Postgres.")
DECISIONS: Final = CounterDef(
    "media_cluster_decisions",
    "Users' decisions written to Postgres, by kind and outcome (accepted, refused); repeats are not counted.",
    ("kind", "outcome"),
)
JOB_MESSAGES: Final = CounterDef("media_cluster_job_messages", "Commands and job states written to Postgres.")
POSTGRES_ERRORS: Final = CounterDef("media_cluster_postgres_errors", "Failed transactions of the projection.")
STALE_PETS: Final = GaugeDef("media_cluster_cache_stale_pets", "Pets whose cached answer waits to be refreshed.")
READABLE_SECONDS: Final = HistogramDef(
    "media_cluster_readable_seconds", "From a version's time to its answer's being readable.", _SLOW
)
PROJECTION_SECONDS: Final = HistogramDef(
    "media_cluster_projection_write_seconds", "One transaction of a projection.", _SLOW
)
CACHE_FAILURES: Final = CounterDef("media_cluster_cache_failures", "Failed calls to the answer cache.", ("operation",))
SWEPT: Final = CounterDef(
    "media_cluster_swept_commands", "Commands submitted again because their outcome was missing: never normal."
)
SWEEP_ERRORS: Final = CounterDef("media_cluster_sweep_errors", "Rounds of the sweeper that failed and were repeated.")
RETENTION_REMOVED: Final = CounterDef("media_cluster_retention_removed", "Rows deleted by retention.", ("table",))
RETENTION_SECONDS: Final = HistogramDef(
    "media_cluster_retention_round_seconds", "One round of retention.", (0.1, 1.0, 10.0, 60.0, 600.0, 3600.0)
)
RETENTION_ERRORS: Final = CounterDef(
    "media_cluster_retention_errors", "Rounds of retention that failed and were repeated."
)
RETENTION_FINISHED: Final = GaugeDef(
    "media_cluster_retention_finished_timestamp_seconds", "When a round of retention ended last.", mode="livemax"
)
RETENTION_OLDEST: Final = GaugeDef(
    "media_cluster_retention_oldest_timestamp_seconds",
    "When the oldest version was written that stays, pinned ones apart.",
    mode="livemostrecent",
)
SIMILAR_PHOTOS: Final = CounterDef("media_cluster_similar_photos_indexed", "Vectors written to the similarity index.")
SIMILAR_DIRECTIONS: Final = CounterDef(
    "media_cluster_similar_directions_renewed", "Directions of clusters made anew in the similarity index."
)
SIMILAR_ERRORS: Final = CounterDef(
    "media_cluster_similar_errors", "Rounds of the similarity index that failed and were repeated."
)
SIMILAR_LAG: Final = GaugeDef(
    "media_cluster_similar_lag", "Facts of the log that the similarity index has not read yet.", mode="livemax"
)
SIMILAR_ROWS: Final = GaugeDef("media_cluster_similar_rows", "Photos in the similarity index, about.", mode="livemax")
SIMILAR_SECONDS: Final = HistogramDef(
    "media_cluster_similar_write_seconds", "One transaction of the similarity index.", _SLOW
)

# Web
WEB_REQUESTS: Final = CounterDef("media_cluster_web_requests", "Requests answered.", ("method", "route", "status"))
WEB_SECONDS: Final = HistogramDef("media_cluster_web_request_seconds", "From request to answer.", _FAST, ("route",))
WEB_READS: Final = CounterDef(
    "media_cluster_web_reads",
    "Reads of current clusters by where the answer came from: cache, stale (the cache while Postgres is away), store, "
    "shared (the store, by another reader's query), none (a pet without clusters).",
    ("origin",),
)
WEB_WAITING: Final = GaugeDef("media_cluster_web_waiting", "Reads that wait for a version or a job.")
WEB_WAIT_SECONDS: Final = HistogramDef(
    "media_cluster_web_wait_seconds",
    "How long a read has waited for a version or a job, come or not.",
    _SLOW,
)
STORE_AWAY: Final = GaugeDef(
    "media_cluster_web_store_away", "1 while a store does not answer an API's pings.", ("store",), mode="livemax"
)
WEB_SUBMITS: Final = CounterDef("media_cluster_web_submits", "Jobs submitted over HTTP.", ("result",))

ALL: Final[tuple[MetricDef, ...]] = tuple(
    value for value in list(globals().values()) if isinstance(value, CounterDef | GaugeDef | HistogramDef)
)

# What `python -m app verify` writes into its own file; no role tells of it at `/metrics`.
VERIFY_FINISHED: Final = GaugeDef("media_cluster_verify_finished_timestamp_seconds", "When a verification ended last.")
VERIFY_SECONDS: Final = GaugeDef("media_cluster_verify_duration_seconds", "How long the last verification took.")
VERIFY_PETS: Final = GaugeDef("media_cluster_verify_pets", "Pets that the last verification folded from the log.")
VERIFY_DIFFERING: Final = GaugeDef(
    "media_cluster_verify_differing_pets", "Pets that differ from the log's fold: never normal.", ("place",)
)
VERIFY_UNSETTLED: Final = GaugeDef(
    "media_cluster_verify_unsettled_pets", "Pets that differed at each look, but never twice the same."
)
