"""A second worker joins while the first has as much in flight as it may: it gets its partitions at once.

Faust gives partitions back only when nobody holds an event of them any more; one that waited for room, and is left to
the next owner, must not count.
"""

from __future__ import annotations

from pathlib import Path

from app.local.kafka import KafkaServer
from app.local.processes import wait_until
from schemas.topics import Topics
from tests.integration.fold_rig import END_SECONDS, open_fold_rig

FULL_WINDOW_WORKER = Path(__file__).with_name("full_window_worker.py")
NEVER = 600.0
"""Seconds: longer than this test, so that no watchdog helps."""


async def test_an_event_that_waits_for_room_does_not_hold_up_a_rebalance(
    kafka: KafkaServer, topics: Topics, tmp_path: Path
) -> None:
    async with open_fold_rig(kafka, topics, tmp_path) as rig:
        first = rig.start(str(FULL_WINDOW_WORKER), watchdog_seconds=NEVER)
        assert wait_until(lambda: "window full" in first.log.read_text(), END_SECONDS), first.log.read_text()[-3000:]
        second = rig.start("-m", "app", "fold", worker_id="2", watchdog_seconds=NEVER)
        assert wait_until(second.ready, END_SECONDS), first.log.read_text()[-3000:]
