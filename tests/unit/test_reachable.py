"""Pings decide whether a store is there, and a failed request makes the next one come at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from projections.reachable import Reachable
from tests.unit.read_rig import Door, eventually

NEVER = 600.0
"""A period that no test waits for."""


@pytest.fixture
def pings() -> Door:
    return Door()


@pytest.fixture
async def watch(pings: Door) -> AsyncIterator[Reachable]:
    watch = Reachable("store", pings.passed, seconds=0.05, period=NEVER)
    await watch.start()
    await eventually(lambda: pings.calls == 1)
    yield watch
    await watch.stop()


async def test_a_failed_request_makes_the_next_ping_come_at_once(watch: Reachable, pings: Door) -> None:
    assert not watch.away
    pings.error = ConnectionRefusedError("away")
    watch.suspect()
    await eventually(lambda: watch.away)
    pings.error = None
    watch.suspect()
    await eventually(lambda: not watch.away)


async def test_a_suspicion_alone_decides_nothing(watch: Reachable, pings: Door) -> None:
    watch.suspect()
    assert not watch.away
    await eventually(lambda: pings.calls == 2)
    assert not watch.away


async def test_a_store_that_hangs_is_away_for_as_long_as_it_does(watch: Reachable, pings: Door) -> None:
    pings.opened.clear()
    watch.suspect()
    await eventually(lambda: watch.away)
    silent = watch.silent_for()
    assert silent >= 0.05
    pings.opened.set()
    watch.suspect()
    await eventually(lambda: not watch.away)


async def test_suspicions_are_no_storm_of_pings(watch: Reachable, pings: Door) -> None:
    for _ in range(100):
        watch.suspect()
        await asyncio.sleep(0)
    assert pings.calls <= 3
