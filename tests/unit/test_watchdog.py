"""The watchdog's rules, each with what it must fire at and what it must not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.watchdog import LoopWatch, Positions, Recovery, RunClock, Sample, Watchdog
from agents.watchdog_service import set_aside

SECONDS = 120.0
AT_END = Positions(first=0, end=40, finished=40, committed=40)
BEHIND = Positions(first=0, end=40, finished=15, committed=15)
UNCOMMITTED = Positions(first=0, end=40, finished=40, committed=15)


class Aborted(Exception):
    """Stands in for the end of the process."""


def abort(reason: str) -> Any:
    raise Aborted(reason)


class Harness:
    def __init__(self) -> None:
        self.now = 0.0
        self.set_aside: list[float] = []
        self.watchdog = Watchdog(SECONDS, clock=lambda: self.now, set_aside_tables=self._set_aside, abort=abort)

    def _set_aside(self) -> str:
        self.set_aside.append(self.now)
        return "the tables are gone"

    def observe_for(self, seconds: float, sample: Sample) -> None:
        """The same sample every ten seconds, the first at once."""
        end = self.now + seconds
        self.watchdog.observe(sample)
        while self.now < end:
            self.now += 10
            self.watchdog.observe(sample)


def working(**partitions: Positions) -> Sample:
    return Sample(member=True, progress=7, in_flight=3, partitions=partitions)


def test_lag_without_progress_ends_the_worker_and_is_told_with_numbers() -> None:
    h = Harness()
    with pytest.raises(Aborted) as ended:
        h.observe_for(200, working(a=BEHIND, b=AT_END))
    assert h.now == SECONDS
    assert str(ended.value) == (
        "lag without progress: nothing finished for 120 s with 25 records waiting and 3 in flight: "
        "a finished up to 15 of 40"
    )


def test_the_smallest_progress_keeps_a_worker_with_lag_alive() -> None:
    h = Harness()
    for progress in range(10):
        h.observe_for(SECONDS - 10, replace(working(a=BEHIND), progress=progress))


def test_a_worker_without_work_is_left_alone() -> None:
    Harness().observe_for(1000, working(a=AT_END))
    Harness().observe_for(1000, working())


def test_work_that_has_just_come_does_not_count_the_quiet_time_before_it() -> None:
    h = Harness()
    h.observe_for(1000, working(a=AT_END))
    h.observe_for(SECONDS - 10, working(a=BEHIND))


def test_records_that_retention_has_removed_are_no_lag() -> None:
    Harness().observe_for(1000, working(a=Positions(first=40, end=40, finished=0, committed=0)))


def test_a_commit_that_stands_still_behind_finished_work_ends_the_worker() -> None:
    h = Harness()
    with pytest.raises(Aborted, match=r"stuck commit: a is finished up to 40, .* has been 15 for 120 s"):
        h.observe_for(200, working(a=UNCOMMITTED, b=AT_END))


def test_a_commit_that_stands_still_is_seen_while_other_work_is_finished() -> None:
    h = Harness()
    for progress in range(11):
        h.observe_for(10, replace(working(a=UNCOMMITTED, b=AT_END), progress=progress))
    with pytest.raises(Aborted, match="stuck commit: a "):
        h.observe_for(10, replace(working(a=UNCOMMITTED, b=AT_END), progress=11))


def test_a_commit_that_moves_is_left_alone() -> None:
    h = Harness()
    for committed in range(20):
        h.observe_for(SECONDS - 10, working(a=replace(UNCOMMITTED, committed=committed)))


def test_a_recovery_that_stands_still_sets_the_tables_aside_and_ends_the_worker() -> None:
    h = Harness()
    with pytest.raises(Aborted, match=r"stuck recovery: no offset moved for 120 s, 9 .* remain; the tables are gone"):
        h.observe_for(200, Sample(member=True, recovery=Recovery(moving=(1, "a", 5), remaining=9)))
    assert h.set_aside == [SECONDS]


def test_a_rebalance_that_stands_still_ends_the_worker_and_keeps_the_tables() -> None:
    h = Harness()
    with pytest.raises(Aborted, match=r"stuck recovery: .* 0 changelog records remain$"):
        h.observe_for(200, Sample(member=True, recovery=Recovery(moving=1, remaining=0)))
    assert h.set_aside == []


def test_a_recovery_that_moves_may_take_its_time() -> None:
    h = Harness()
    for offset in range(20):
        h.observe_for(SECONDS - 10, Sample(member=True, recovery=Recovery(moving=offset, remaining=9)))


def test_a_rebalance_that_waits_for_work_in_hand_may_take_as_long_as_that_makes_progress() -> None:
    h = Harness()
    for progress in range(20):
        h.observe_for(SECONDS - 10, Sample(member=True, progress=progress, recovery=Recovery(moving=1, remaining=0)))


def test_a_worker_that_is_no_member_while_the_brokers_answer_is_ended() -> None:
    with pytest.raises(Aborted, match=r"stuck membership: .* for 120 s"):
        Harness().observe_for(200, Sample(member=False, brokers_answer=True))


@pytest.mark.parametrize(
    "stuck", [{"partitions": {"a": BEHIND}}, {"partitions": {"a": UNCOMMITTED}}, {"recovery": Recovery(1, 9)}]
)
def test_nothing_fires_because_the_brokers_are_away(stuck: dict[str, Any]) -> None:
    h = Harness()
    h.observe_for(1000, Sample(member=False, brokers_answer=False, **stuck))
    h.observe_for(SECONDS - 10, Sample(member=True, **stuck))


def test_a_blocked_loop_is_noticed_by_the_other_thread() -> None:
    now = 0.0
    watch = LoopWatch(SECONDS, clock=lambda: now, abort=abort)
    watch.check()
    now = 119.0
    watch.check()
    watch.beat()
    now = 200.0
    watch.check()
    now = 319.0
    watch.check()
    now = 321.0
    with pytest.raises(Aborted, match="blocked event loop: it has not run for 121 s"):
        watch.check()


def test_a_process_that_was_stopped_has_not_stood_still() -> None:
    """SIGSTOP for an hour, and on again: what the loop has not done meanwhile is no fault of its own."""
    now = 0.0
    watch = LoopWatch(SECONDS, clock=RunClock(20.0, clock=lambda: now), abort=abort)
    watch.check()
    now = 3600.0
    watch.check()  # 20 s of the stop count
    for _ in range(9):
        now += 10
        watch.check()
    now += 10
    with pytest.raises(Aborted, match="for 120 s"):
        watch.check()


def test_setting_tables_aside_keeps_the_first_copy(tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    assert set_aside(tables) == "there are no local tables"
    for content in ("first", "second"):
        tables.mkdir()
        (tables / "pets.db").write_text(content)
        told = set_aside(tables)
        assert not tables.exists()
    assert "removed" in told
    assert (tmp_path / "tables.set-aside" / "pets.db").read_text() == "first"
