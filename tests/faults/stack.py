"""Everything that faults strike: the servers, the supervised service, the storage. Made by run.py, once a seed."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.e2e.service import ROLES
from tests.faults.ledger import Ledger
from tests.faults.load import Submitter
from tests.faults.servers import Servers, own_ports
from tests.faults.storage import MoodyStorage, album
from tests.faults.supervised import SupervisedService

SESSION_SECONDS: Final = 6
STATE_DISK_MB: Final = 96
SMALL_DISKS: Final = ("embed", "fold")
"""Roles whose worker keeps its state on a small file system of its own, which can be filled."""
SETTINGS: Final = {
    "EMBEDDING_CONSTANT_TIME_MS": "0",
    "KAFKA_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS),
    "CLUSTER_RETRY_DELAYS_SECONDS": "0.5,1,2",
    # More tries than any fault of the storage outlasts: every image that exists must be placed.
    "CLUSTER_MAX_ATTEMPTS": "60",
    "CLUSTER_RETRY_IDLE_MS": "3000",
    "CLUSTER_READ_TIMEOUT_MS": "1000",
    "IMAGE_TIMEOUT_SECONDS": "5",
    "IMAGE_SOURCE": "",
}
SWEEPER: Final = {"SWEEP_INTERVAL_SECONDS": "3", "SWEEP_DEADLINE_SECONDS": "10"}
"""Far more eager than anybody's: while nothing is lost it must find nothing, however early it looks. Not where a
protection is off: what is lost there is to stay lost.
"""


@dataclass
class Outages:
    """When what was away: name of a thing or of a fault → (from, to) on the monotonic clock, `to` infinite until then.

    A thing is away until it is ready again, a fault strikes until it is healed.
    """

    spans: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    def begin(self, name: str) -> int:
        """It is being struck now; returns the number of this outage."""
        self.spans[name].append((time.monotonic(), float("inf")))
        return len(self.spans[name]) - 1

    def end(self, name: str, number: int) -> None:
        """It is back."""
        since, _ = self.spans[name][number]
        self.spans[name][number] = (since, time.monotonic())

    def lasts(self, names: Iterable[str]) -> bool:
        """Whether one of these is away now."""
        return any(until == float("inf") for name in names for _, until in self.spans.get(name, ()))


class Stack:
    """`open`, then faults and load, then `close`. `off`: see SupervisedService."""

    def __init__(self, root: Path, *, off: str = "", settings: Mapping[str, str] | None = None) -> None:
        self.root = root
        ports = own_ports()
        self.servers = Servers(root, ports)
        self.storage = MoodyStorage(ports.pop(), album())
        self.ledger = Ledger()
        self.outages = Outages()
        self.counts: Counter[str] = Counter()
        self.broken_promises: list[str] = []
        self._off = off
        self._ports = ports
        own = SETTINGS if off else SETTINGS | SWEEPER
        self._settings = {**own, "STORAGE_SERVICE_URL": self.storage.url, **(settings or {})}
        self._mounted: list[Path] = []

    async def open(self) -> None:
        """Start everything and wait until every role is ready."""
        await self.servers.start()
        await self.storage.open()
        self.service = SupervisedService(
            self.root / "service",
            self.servers.kafka.bootstrap_servers,
            self.servers.jobs_redis.url,
            self.servers.database_url,
            self.root,
            self._settings,
            name="f",
            cache_url=self.servers.cache_redis.url,
            ports_left=self._ports,
            off=self._off,
        )
        self._make_small_disks()
        await asyncio.to_thread(self.service.prepare)
        await self.service.begin()
        await asyncio.gather(*(asyncio.to_thread(self.service.wait_ready, role) for role in ROLES))
        self.submitter = Submitter(self.service, self.ledger)

    async def close(self) -> None:
        """End everything, whatever state it is in."""
        if hasattr(self, "service"):
            await self.service.end()
            self.service.redis.close()
        await self.storage.close()
        await asyncio.to_thread(self.servers.stop)
        for folder in self._mounted:
            await asyncio.to_thread(subprocess.run, ["umount", "--lazy", str(folder)], check=True)

    def small_disks_missing(self) -> list[str]:
        """Roles whose state folder is not a small file system of its own."""
        return [role for role in SMALL_DISKS if self.service.state_folder(role) not in self._mounted]

    def count(self, what: str) -> None:
        """Count something that a fault did."""
        self.counts[what] += 1

    def _make_small_disks(self) -> None:
        for role in SMALL_DISKS:
            folder = self.service.state_folder(role)
            folder.mkdir(parents=True)
            options = ["-t", "tmpfs", "-o", f"size={STATE_DISK_MB}m,mode=0755", "tmpfs", str(folder)]
            if shutil.which("mount") and not subprocess.run(["mount", *options], capture_output=True).returncode:
                self._mounted.append(folder)
