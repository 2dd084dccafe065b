"""The Kafka topics: names, what they keep and for how long. Used by every role and by `python -m app prepare`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

DEFAULT_PARTITIONS: Final = 12
MAX_MESSAGE_BYTES: Final = 4_000_000
RETRY_TIERS: Final = 3
PARTITION_FACTS_KEY: Final = "/partition"
"""Key of facts about a whole partition (policy, model). No id holds a ``/``, so no pet has this key."""

_DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000


class Placed(Protocol):
    """A message that has been read, whichever client read it."""

    topic: str
    partition: int
    offset: int


def position_of(message: Placed) -> str:
    """Where a message stands, as dead letters and logs tell it: ``<topic>/<partition>/<offset>``."""
    return f"{message.topic}/{message.partition}/{message.offset}"


@dataclass(frozen=True)
class Topic:
    """A topic's name and its broker-side settings. `max_compaction_lag_ms`: what was overwritten is gone by then."""

    name: str
    retention_ms: int
    compacted: bool = False
    compaction_lag_ms: int = _DAY_MS
    max_compaction_lag_ms: int | None = None

    def configs(self, replication_factor: int = 1) -> dict[str, str]:
        """Settings for topic creation, as the admin API takes them.

        With replicas, what is acknowledged stands on at least two of them while one is away.
        """
        configs = {
            "max.message.bytes": str(MAX_MESSAGE_BYTES),
            "retention.ms": str(self.retention_ms),
            "min.insync.replicas": str(max(1, replication_factor - 1)),
        }
        if self.compacted:
            configs |= {"cleanup.policy": "compact", "min.compaction.lag.ms": str(self.compaction_lag_ms)}
            if self.max_compaction_lag_ms is not None:
                configs["max.compaction.lag.ms"] = str(self.max_compaction_lag_ms)
        return configs


@dataclass(frozen=True)
class Topics:
    """All topics of one deployment. `prefix` separates deployments (and tests) on one broker."""

    prefix: str = ""

    @property
    def jobs(self) -> Topic:
        """Commands: what was asked. JSON, key pet_id."""
        return Topic(f"{self.prefix}media.jobs", 7 * _DAY_MS)

    @property
    def retries(self) -> tuple[Topic, ...]:
        """Commands that wait for their next try, one topic a tier: its delay is fixed, so its head is due first."""
        return tuple(Topic(f"{self.prefix}media.jobs.retry.{tier}", 7 * _DAY_MS) for tier in range(1, RETRY_TIERS + 1))

    @property
    def pet_log(self) -> Topic:
        """Facts, kept for ever: the truth that everything else is folded from. msgpack, key pet_id."""
        return Topic(f"{self.prefix}media.pet-log", -1)

    @property
    def pet_versions(self) -> Topic:
        """What changed from a version to the next; feeds the projections. msgpack, key pet_id."""
        return Topic(f"{self.prefix}media.pet-versions", 90 * _DAY_MS)

    @property
    def clusters_updated(self) -> Topic:
        """Public: a bounded snapshot of a pet's clusters. JSON, key pet_id, compacted."""
        return Topic(f"{self.prefix}media.clusters.updated", -1, compacted=True)

    @property
    def jobs_status(self) -> Topic:
        """Public: processing, succeeded, failed, with counts and cause. JSON, key pet_id."""
        return Topic(f"{self.prefix}media.jobs.status", 90 * _DAY_MS)

    @property
    def pet_keys(self) -> Topic:
        """Keys that seal the pets' facts. msgpack, key key_id, partition of the pet, compacted at once."""
        return Topic(
            f"{self.prefix}media.pet-keys", -1, compacted=True, compaction_lag_ms=0, max_compaction_lag_ms=_HOUR_MS
        )

    @property
    def deadletter(self) -> Topic:
        """What can never succeed: the original bytes and the reason. JSON, key pet_id or none."""
        return Topic(f"{self.prefix}media.deadletter", 90 * _DAY_MS)

    @property
    def deadletter_actions(self) -> Topic:
        """What operators did with dead letters, who and why, kept for ever. JSON, key pet_id or none."""
        return Topic(f"{self.prefix}media.deadletter.actions", -1)

    @property
    def fold_generations(self) -> Topic:
        """Which generation of the fold is at work, kept for ever. JSON, one key, partition 0."""
        return Topic(f"{self.prefix}media.fold.generations", -1)

    def all(self) -> tuple[Topic, ...]:
        """Every topic that must exist before a worker starts."""
        return (
            self.jobs,
            *self.retries,
            self.pet_log,
            self.pet_versions,
            self.clusters_updated,
            self.pet_keys,
            self.jobs_status,
            self.deadletter,
            self.deadletter_actions,
            self.fold_generations,
        )

    def restored(self) -> tuple[Topic, ...]:
        """Those that a new Kafka needs from an export. The others follow from the log when it is folded again.

        What was asked and has no fact yet, the facts and the keys that open them, and the dead letters with what
        operators did with them.
        """
        return (self.jobs, *self.retries, self.pet_keys, self.pet_log, self.deadletter, self.deadletter_actions)

    def folded_again(self) -> tuple[Topic, ...]:
        """Those that begin empty: the fold fills them anew when it reads the log from its beginning, and its own
        generations begin with the first.
        """
        return (self.pet_versions, self.clusters_updated, self.jobs_status, self.fold_generations)
