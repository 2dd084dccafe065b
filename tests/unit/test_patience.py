"""Waits end when their own time is over, by one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from projections.patience import Patience


class ClockedLoop(asyncio.SelectorEventLoop):
    """A loop that does not run; the test sets its clock. `timers`: what is to be called, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], object]]] = []

    def time(self) -> float:
        return self.now

    # Ties no arguments to the callback, as typeshed does.
    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        self.timers.append((when, lambda: callback(*args)))
        return object()

    def ring(self) -> None:
        """The time of the next timer has come."""
        self.now, call = self.timers.pop(0)
        call()


@pytest.fixture
def loop() -> Iterator[ClockedLoop]:
    made = ClockedLoop()
    yield made
    made.close()


def begin(patience: Patience, loop: ClockedLoop, at: float) -> asyncio.Future[str]:
    loop.now = at
    told: asyncio.Future[str] = loop.create_future()
    patience.begin(told)
    return told


def test_each_wait_ends_in_its_own_time_though_there_is_one_timer(loop: ClockedLoop) -> None:
    patience = Patience(10)
    waits = [begin(patience, loop, at) for at in (0, 3, 4)]
    assert [when for when, _ in loop.timers] == [10]
    waits[1].set_result("told")
    loop.ring()
    assert isinstance(waits[0].exception(), TimeoutError)
    assert not waits[2].done()
    assert [when for when, _ in loop.timers] == [14]
    loop.ring()
    assert isinstance(waits[2].exception(), TimeoutError)
    assert waits[1].result() == "told"


def test_when_nobody_waits_there_is_no_timer_until_somebody_does(loop: ClockedLoop) -> None:
    patience = Patience(10)
    begin(patience, loop, 0).set_result("told")
    loop.ring()
    assert loop.timers == []
    waits = begin(patience, loop, 20)
    loop.ring()
    assert loop.now == 30
    assert isinstance(waits.exception(), TimeoutError)


def test_what_is_told_is_not_kept(loop: ClockedLoop) -> None:
    patience = Patience(10)
    for at in range(5):
        begin(patience, loop, at).set_result("told")
    assert len(patience) == 1, "the last, until the next begins"
