"""Makes the Faust apps of the embed and fold roles, with the settings that survived the faults (docs/delivery.md)."""

from __future__ import annotations

from typing import Any, Final

import faust
from faust.types import AppT, TopicT

from agents.durable_table import DurableTable
from app.faust_environment import NO_ENVIRONMENT
from app.settings import Settings
from schemas.topics import MAX_MESSAGE_BYTES, Topic

LEASE_MARGIN_SECONDS: Final = 1.0
REBALANCE_SECONDS: Final = 120.0
TABLES: Final = {"embed": "known-images", "fold": "pets"}
"""The table of each role that has one."""
ROCKSDB_OPTIONS: Final[dict[str, Any]] = {
    "driver": "rocksdict",
    # A database a partition: faust's defaults take 2 GiB of cache for each.
    "block_cache_size": 16 * 2**20,
    "block_cache_compressed_size": 4 * 2**20,
    "write_buffer_size": 8 * 2**20,
    "max_write_buffer_number": 2,
    "max_open_files": 256,
}


def group_id(settings: Settings, role: str, generation: int = 1) -> str:
    """Consumer group and Faust app id of a role, e.g. ``media-fold``; of a later generation, ``media-fold-2``."""
    return f"{settings.kafka_topic_prefix}media-{role}{'' if generation == 1 else f'-{generation}'}"


def changelog_topic(settings: Settings, role: str, generation: int = 1) -> Topic:
    """The changelog of the role's table, under the name that Faust gives it."""
    group = group_id(settings, role, generation)
    return Topic(f"{group}-{TABLES[role]}-changelog", -1, compacted=True, compaction_lag_ms=0)


def create_app(settings: Settings, role: str, generation: int = 1) -> AppT:
    """The Faust app of a worker of `role`. It has no web server; app.telemetry.ops_server answers for it.

    Each generation has its own group, changelog and local tables.
    """
    name = group_id(settings, role, generation)
    brokers = settings.kafka_bootstrap_servers.split(",")
    # No worker's id holds an @, so that no two folders are the same.
    datadir = settings.data_dir / f"{role}-{settings.worker_id}{'' if generation == 1 else f'@{generation}'}"
    datadir.parent.mkdir(parents=True, exist_ok=True)
    return faust.App(
        name,
        broker=[f"aiokafka://{broker.strip()}" for broker in brokers],
        store="rocksdb://",
        datadir=str(datadir),
        Table=DurableTable,
        autodiscover=False,
        env=NO_ENVIRONMENT,
        web_enabled=False,
        processing_guarantee="at_least_once",
        # Static membership: a restarted worker takes its partitions back without waiting for a session timeout.
        consumer_group_instance_id=f"{name}-{settings.worker_id}",
        consumer_auto_offset_reset="earliest",
        # What a rebalance waits for before it goes on without a worker: longer than embed's images in flight take.
        broker_rebalance_timeout=REBALANCE_SECONDS,
        broker_session_timeout=settings.kafka_session_timeout_seconds,
        broker_heartbeat_interval=1.0,  # the lease lives on heartbeats
        broker_commit_interval=1.0,
        producer_acks=-1,
        producer_linger=0,
        producer_max_batch_size=2**20,  # 16 KB costs half the rate
        producer_max_request_size=MAX_MESSAGE_BYTES,
        producer_threaded=False,
        stream_wait_empty=True,
        # Facts of 64 vectors have 170 KB: Faust's own 4,096 of them held 700 MB of a backlog, at the same rate.
        stream_buffer_maxsize=256,
        topic_disable_leader=True,
        topic_allow_declare=True,
        topic_partitions=settings.kafka_partitions,
        topic_replication_factor=settings.kafka_replication_factor,
        table_standby_replicas=0,
    )


def raw_topic(app: AppT, topic: Topic) -> TopicT:
    """A topic of bytes; it must exist (app.prepare makes it)."""
    return app.topic(topic.name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")


def durable_table(app: AppT, role: str) -> DurableTable:
    """The role's table of bytes, whose changelog the delivery module publishes."""
    table: DurableTable = app.Table(
        TABLES[role],
        key_type=bytes,
        value_type=bytes,
        options=ROCKSDB_OPTIONS,
        extra_topic_configs={"cleanup.policy": "compact", "max.message.bytes": str(MAX_MESSAGE_BYTES)},
    )
    table.guards_heads = role == "fold"
    return table
