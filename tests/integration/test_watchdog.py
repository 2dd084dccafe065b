"""The watchdog in a real fold worker on a real broker: it ends what stands still, and says what that was."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rocksdict import Options, Rdict

from app.local.kafka import KafkaServer
from schemas.topics import Topics
from tests.conftest import TEST_PARTITIONS
from tests.integration.fold_rig import WATCHDOG_SECONDS, FoldRig, open_fold_rig

STUCK_WORKER = Path(__file__).with_name("stuck_worker.py")


@pytest.fixture
async def rig(kafka: KafkaServer, topics: Topics, tmp_path: Path) -> AsyncIterator[FoldRig]:
    async with open_fold_rig(kafka, topics, tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("agent", r"lag without progress: nothing finished for \d+ s with 12 records .* finished up to 0 of 4"),
        ("loop", r"blocked event loop: it has not run for \d+ s"),
        ("commit", r"stuck commit: .*media\.pet-log/\d is finished up to 4, but its committed offset has been 0 for"),
        ("membership", r"stuck membership: the brokers answer, but no heartbeat or join of ours for \d+ s"),
    ],
)
async def test_a_worker_that_stands_still_ends_and_says_what_was_stuck(rig: FoldRig, part: str, reason: str) -> None:
    await rig.publish(2 * TEST_PARTITIONS)
    assert re.search(reason, rig.start(str(STUCK_WORKER), part).end())


async def test_a_stuck_recovery_sets_the_local_tables_aside_and_the_next_start_works(rig: FoldRig) -> None:
    await rig.fold_and_stop()
    reason = rig.start(str(STUCK_WORKER), "recovery").end()
    assert re.search(r"stuck recovery: no offset moved for \d+ s, \d+ changelog records remain; .* moved to ", reason)
    assert not rig.tables.exists()
    assert list(rig.tables.with_name("tables.set-aside").iterdir())
    rig.start_fold()


async def test_local_tables_that_are_ahead_of_the_broker_are_told_and_kept(rig: FoldRig) -> None:
    """They may be the only copy."""
    await rig.fold_and_stop()
    (first, *_) = sorted(rig.tables.glob("pets-*.db"))
    database = Rdict(str(first), Options(raw_mode=True))
    database[b"__faust\0offset__"] = b"999999"
    database.close()
    assert re.search(r"local tables ahead of the broker: .*999999", rig.start("-m", "app", "fold").end())
    assert first.exists()


async def test_neither_a_quiet_worker_nor_a_stopped_one_is_ended(rig: FoldRig) -> None:
    """Quiet for longer than the watchdog's time, then stopped for longer than it, with work waiting."""
    worker = rig.start_fold()
    await rig.publish(TEST_PARTITIONS)
    await rig.until_all_committed()
    await asyncio.sleep(1.5 * WATCHDOG_SECONDS)
    worker.process.send_signal(signal.SIGSTOP)
    await rig.publish(TEST_PARTITIONS)
    await asyncio.sleep(1.5 * WATCHDOG_SECONDS)  # shorter than the lease
    worker.process.send_signal(signal.SIGCONT)
    await rig.until_all_committed()
    assert worker.process.poll() is None, worker.log.read_text()[-3000:]
