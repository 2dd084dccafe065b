"""Which Kafka this database was filled from: offsets mean nothing on another. Asked by `projections.runner` at each
connection, changed by `app.backup`.
"""

from __future__ import annotations

from typing import Any

from aiokafka.admin import AIOKafkaAdminClient

from projections.queries import load
from schemas.errors import StopProcess


async def cluster_id(bootstrap_servers: str) -> str:
    """The id that Kafka's storage was formatted with; empty when the broker tells none."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        await admin.start()
        return (await admin.describe_cluster())["cluster_id"] or ""
    finally:
        await admin.close()


async def claim(connection: Any, cluster: str) -> None:
    """Note `cluster` when the database belongs to none yet. Raises StopProcess when it belongs to another."""
    known = await connection.fetchval(load("claim_kafka_cluster"), cluster)
    if known != cluster:
        whom = f"Kafka {known}" if known else "another Kafka, or to these topics before they were made anew"
        raise StopProcess(
            f"this database belongs to {whom}; this is Kafka {cluster}. After Kafka was restored:"
            " `python -m app log adopt`"
        )


async def known(connection: Any) -> str | None:
    """What was noted; None before any projector has started."""
    noted: str | None = await connection.fetchval(load("read_kafka_cluster"))
    return noted


async def note(connection: Any, cluster: str) -> None:
    """The database belongs to `cluster` from now on; to none that any projector meets when it is empty."""
    await connection.execute(load("set_kafka_cluster"), cluster)
