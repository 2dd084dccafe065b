"""Loops of one process run until it is to stop, or until one of them fails: then the process fails."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from app.roles.loops import run_together
from projections.waiting import Patience
from schemas.errors import RetryLater, StopProcess, cancelled_by_client
from schemas.telemetry import Unmeasured


class Steady:
    """Runs until it is stopped, or until it fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self._stopping = asyncio.Event()
        self.ended = False

    async def run(self) -> None:
        if self._error is not None:
            raise self._error
        await self._stopping.wait()
        self.ended = True

    async def stop(self) -> None:
        self._stopping.set()
        if self._error is not None:
            raise self._error


async def test_all_end_when_the_process_is_to_stop() -> None:
    loops, stopping = (Steady(), Steady()), asyncio.Event()
    running = asyncio.create_task(run_together(loops, stopping))
    await asyncio.sleep(0)
    assert not running.done()
    stopping.set()
    await running
    assert [loop.ended for loop in loops] == [True, True]


async def test_one_that_fails_ends_the_others_and_is_raised() -> None:
    healthy, failing = Steady(), Steady(StopProcess("the producer is broken"))
    with pytest.raises(StopProcess, match="the producer is broken"):
        await run_together((healthy, failing), asyncio.Event())
    assert healthy.ended


async def test_it_ends_at_once_when_the_process_is_stopping_already() -> None:
    stopping = asyncio.Event()
    stopping.set()
    loop = Steady()
    await run_together((loop,), stopping)
    assert loop.ended


async def test_a_loop_that_its_client_cancels_fails_the_process_and_stops_the_others() -> None:
    steady, cancelled = Steady(), Steady()

    async def run() -> None:
        await _cancelled_future()

    cancelled.run = run  # type: ignore[method-assign]
    with pytest.raises(StopProcess, match="cancelled"):
        await run_together((steady, cancelled), asyncio.Event())
    assert steady.ended


async def test_what_a_client_cancels_while_the_process_stops_is_no_failure() -> None:
    """As aiokafka does with whoever waits for a broker that is dead."""
    steady, cancelled, stopping = Steady(), Steady(), asyncio.Event()

    async def run() -> None:
        await cancelled._stopping.wait()
        await _cancelled_future()

    cancelled.run = run  # type: ignore[method-assign]
    stopping.set()
    await run_together((steady, cancelled), stopping)
    assert steady.ended


async def _cancelled_future() -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def test_what_a_client_cancels_is_tried_again_and_what_we_cancel_ends() -> None:
    with pytest.raises(RetryLater), cancelled_by_client():
        await _cancelled_future()

    async def wait() -> None:
        with cancelled_by_client():
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_a_projector_goes_on_when_the_client_cancels_what_it_waits_for() -> None:
    tries = iter((_cancelled_future(),))

    async def work() -> str:
        for cancelled in tries:
            await cancelled
        return "done"

    patience = Patience("projector", asyncio.Event(), Unmeasured())
    assert await patience.until_done(work) == "done"


@pytest.mark.parametrize("error", [asyncpg.InternalClientError("cannot switch to state 12"), OSError(), TimeoutError()])
async def test_a_projector_waits_out_whatever_an_absent_postgres_raises(error: Exception) -> None:
    errors = iter((error,))

    async def work() -> str:
        for each in errors:
            raise each
        return "done"

    patience = Patience("projector", asyncio.Event(), Unmeasured())
    assert await patience.until_done(work) == "done"
