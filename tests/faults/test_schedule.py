"""The schedule is a function of the seed: same seed, same strikes; lanes never overlap with themselves."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.registry import FAULTS, chosen
from tests.faults.schedule import Kind, by_lane, plan

KINDS = [named.kind for named in FAULTS.values()]


def test_equal_seeds_give_equal_schedules() -> None:
    assert plan(7, 60.0, KINDS) == plan(7, 60.0, reversed(KINDS))
    assert plan(7, 60.0, KINDS) != plan(8, 60.0, KINDS)


@given(seed=st.integers(0, 10_000), seconds=st.floats(5.0, 300.0))
def test_faults_of_a_lane_follow_each_other_within_the_time(seed: int, seconds: float) -> None:
    rests = {kind.name: kind.rest for kind in KINDS}
    for strikes in by_lane(plan(seed, seconds, KINDS)).values():
        free = 0.0
        for strike in strikes:
            assert strike.at >= free - 0.02
            free = strike.at + strike.seconds + rests[strike.name]
        assert free <= seconds + 0.02 * len(strikes)


@pytest.mark.parametrize("seed", range(200))
def test_a_minute_has_every_fault(seed: int) -> None:
    """What the figures promise: all faults in each seed of 60 seconds."""
    struck = Counter(strike.name for strike in plan(seed, 60.0, KINDS))
    assert set(struck) == set(FAULTS)


def test_faults_of_different_lanes_overlap() -> None:
    strikes = [strike for strike in plan(1, 60.0, KINDS) if strike.seconds > 0]
    overlaps = [
        (one.name, other.name)
        for one in strikes
        for other in strikes
        if one.at < other.at < one.at + one.seconds and one.lane != other.lane
    ]
    assert len(overlaps) > 5


def test_a_lane_does_not_depend_on_the_other_faults() -> None:
    """So that a red seed can be narrowed down to some of its faults."""
    alone = plan(3, 60.0, [named.kind for named in chosen(["redis"])])
    assert alone == by_lane(plan(3, 60.0, KINDS))["redis"]


def test_a_kind_longer_than_the_run_is_left_out() -> None:
    assert plan(1, 5.0, [Kind("long", "lane", 6.0, 7.0)]) == []


def test_names_and_their_beginnings_choose_faults() -> None:
    assert {named.kind.name for named in chosen(["redis_stop", "zombie"])} == {
        "redis_stop",
        "zombie_embed",
        "zombie_fold",
    }
    with pytest.raises(ValueError, match="no fault is called moon_phase"):
        chosen(["moon_phase"])
