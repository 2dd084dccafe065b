"""Takes the watchdog's samples in a running Faust worker: one loop, and a thread that watches the loop itself.

A service of the worker (app.roles.faust_worker). What the brokers hold is asked over a connection of its own, since the
worker's may be what is stuck. agents.watchdog has the rules.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from faust.types import AppT
from mode import Service

from agents.abort import Abort, abort_process
from agents.delivery import Delivery
from agents.lease import Lease
from agents.watchdog import LoopWatch, Positions, Recovery, RunClock, Sample, Watchdog

log = structlog.get_logger(__name__)

SAMPLES: Final = 12
"""Samples in the time after which the watchdog fires."""
LONGEST_INTERVAL: Final = 10.0
ANSWER_SECONDS: Final = 10.0
"""How long the brokers may take to answer for a sample."""
CLOSE_SECONDS: Final = 2.0


class WatchdogService(Service):
    """Ends the process when the worker of `app` stands still for `seconds`."""

    abstract = False

    def __init__(
        self,
        app: AppT,
        delivery: Delivery,
        lease: Lease,
        *,
        bootstrap_servers: str,
        seconds: float,
        abort: Abort = abort_process,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._app = app
        self._delivery = delivery
        self._lease = lease
        self._broker = _Broker(bootstrap_servers, app.conf.id)
        self._interval = min(LONGEST_INTERVAL, seconds / SAMPLES)
        self._watchdog = Watchdog(
            seconds,
            clock=RunClock(2 * self._interval),
            set_aside_tables=lambda: set_aside(Path(app.conf.tabledir)),
            abort=abort,
        )
        self._loop_watch = LoopWatch(seconds, clock=RunClock(2 * self._interval), abort=abort)
        self._ending = threading.Event()

    async def on_start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._watch_loop, name="watchdog", daemon=True).start()

    async def on_stop(self) -> None:
        """From here on the deadline of the shutdown counts."""
        self._ending.set()

    @Service.task
    async def _watch(self) -> None:
        beats = asyncio.create_task(self._beat())
        try:
            while not self.should_stop:
                self._watchdog.observe(await self._sample())
                await self.sleep(self._interval)
        finally:
            beats.cancel()
            await self._broker.close()

    async def _beat(self) -> None:
        while True:
            self._loop_watch.beat()
            await asyncio.sleep(self._interval / 2)

    def _watch_loop(self) -> None:
        while not self._ending.wait(self._interval):
            self._loop_watch.check()

    async def _sample(self) -> Sample:
        member, recovery = self._lease.held, self._recovery()
        ends = await self._broker.positions(self._sources() if member and recovery is None else ())
        return Sample(
            member=member,
            brokers_answer=ends is not None,
            progress=self._delivery.progress,
            in_flight=self._delivery.in_flight,
            recovery=recovery,
            partitions={
                f"{tp.topic}/{tp.partition}": Positions(first, end, self._delivery.finished(tp), committed)
                for tp, (first, end, committed) in (ends or {}).items()
            },
        )

    def _sources(self) -> list[Any]:
        """The assigned partitions that events come from."""
        changelogs = self._app.tables.changelog_topics
        return [tp for tp in self._app.consumer.assignment() if tp.topic not in changelogs]

    def _recovery(self) -> Recovery | None:
        app: Any = self._app
        recovery = app.tables.recovery
        if app.consumer_generation_id > 0 and recovery.completed.is_set() and not app.rebalancing:
            return None
        offsets = dict(recovery.active_offsets)
        moving = (app.consumer_generation_id, app.rebalancing_count, *sorted(offsets.items(), key=str))
        remaining = sum(max(0, records) for records in recovery.active_remaining().values())
        return Recovery(moving, remaining if recovery.in_recovery else 0)


class _Broker:
    """What the brokers say about a group's partitions."""

    def __init__(self, bootstrap_servers: str, group_id: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._group_id = group_id
        self._client: AIOKafkaConsumer | None = None

    async def positions(self, partitions: Iterable[Any]) -> dict[Any, tuple[int, int, int]] | None:
        """First, end and committed offset of each partition; None when the brokers do not answer."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                client = await self._connected()
                return await _positions(client, {tp: TopicPartition(tp.topic, tp.partition) for tp in partitions})
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("watchdog_waits_for_kafka", error=repr(error))
            await self.close()
            return None

    async def _connected(self) -> AIOKafkaConsumer:
        if self._client is None:
            # It has the group's id to read what is committed; without a subscription it never joins.
            client = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap_servers, group_id=self._group_id, enable_auto_commit=False
            )
            self._client = client
            await client.start()
        return self._client

    async def close(self) -> None:
        """Close the connection; the next question opens another."""
        client, self._client = self._client, None
        if client is not None:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await client.stop()
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("watchdog_close_failed", error=repr(error))


async def _positions(client: AIOKafkaConsumer, asked: dict[Any, Any]) -> dict[Any, tuple[int, int, int]]:
    if not asked:
        if not await client._client.force_metadata_update():
            raise KafkaError("no broker answered")
        return {}
    partitions = list(asked.values())
    first, end = await client.beginning_offsets(partitions), await client.end_offsets(partitions)
    committed = await client._coordinator.fetch_committed_offsets(partitions)
    return {
        tp: (first[at], end[at], max(0, committed[at].offset) if at in committed else 0) for tp, at in asked.items()
    }


def set_aside(folder: Path) -> str:
    """Move the local tables away, so that the next start recovers all of them. Returns what was done, for people.

    Of several times the first copy is kept: it is the one that may still hold something.
    """
    kept = folder.with_name(f"{folder.name}.set-aside")
    try:
        if not folder.exists():
            return "there are no local tables"
        if kept.exists():
            shutil.rmtree(folder)
            return f"the local tables are removed ({kept} is from an earlier time)"
        folder.rename(kept)
    except OSError as error:  # the process ends in any case
        return f"the local tables could not be moved away: {error}"
    return f"the local tables are moved to {kept}"
