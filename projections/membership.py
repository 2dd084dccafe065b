"""How a plain consumer joins its group: the projector's, and those of the bridge's retry pump and requeue executor.

Made by `app.roles.membership`; used by `projections.runner`, and by `bridges.relay_loop` through its own protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor


@dataclass(frozen=True, kw_only=True)
class Membership:
    """One member of the group. `options`: more of the client's own settings.

    `instance_id`: static membership, so that a quick restart moves no partition.
    """

    bootstrap_servers: str
    group_id: str = "media-project"
    client_id: str = "media-project"
    instance_id: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def consumer(self) -> AIOKafkaConsumer:
        """A consumer that has not started and subscribes to nothing; must be made on the loop that uses it."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "group_id": self.group_id,
            "client_id": self.client_id,
            "group_instance_id": self.instance_id,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            # Short, since a partition whose records we hold is left out of the next fetch, which waits this long.
            "fetch_max_wait_ms": 20,
            # A pet has one partition number on all topics; by range, one member gets that number of each topic.
            "partition_assignment_strategy": (RangePartitionAssignor,),
            **self.options,
        }
        return AIOKafkaConsumer(**options)
