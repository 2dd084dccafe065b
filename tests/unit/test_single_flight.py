"""Callers share one asking: its result, its error, and nobody's leaving."""

from __future__ import annotations

import asyncio

import pytest

from projections.single_flight import SingleFlight


class Asked:
    """Something to be asked for, which answers when the test says so."""

    def __init__(self) -> None:
        self.times = 0
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def ask(self) -> str:
        self.times += 1
        return await self.answer


async def all_waiting(callers: list[asyncio.Task[tuple[str, bool]]]) -> None:
    """Every task has run up to where it waits."""
    for _ in range(3):
        await asyncio.sleep(0)
    assert not any(caller.done() for caller in callers)


async def test_callers_at_the_same_time_share_one_asking() -> None:
    flights, asked = SingleFlight[str](), Asked()
    callers = [asyncio.create_task(flights.do("pet", asked.ask)) for _ in range(100)]
    await all_waiting(callers)
    asked.answer.set_result("clusters")
    results = await asyncio.gather(*callers)
    assert asked.times == 1
    assert sorted(results) == [("clusters", False)] + [("clusters", True)] * 99
    assert len(flights) == 0


async def test_each_key_has_an_asking_of_its_own() -> None:
    flights, one, other = SingleFlight[str](), Asked(), Asked()
    one.answer.set_result("one")
    other.answer.set_result("other")
    assert list(await asyncio.gather(flights.do("1", one.ask), flights.do("2", other.ask))) == [
        ("one", False),
        ("other", False),
    ]


async def test_the_first_callers_leaving_fails_nobody_else() -> None:
    flights, asked = SingleFlight[str](), Asked()
    callers = [asyncio.create_task(flights.do("pet", asked.ask)) for _ in range(3)]
    await all_waiting(callers)
    callers[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await callers[0]
    asked.answer.set_result("clusters")
    assert await asyncio.gather(*callers[1:]) == [("clusters", True), ("clusters", True)]


async def test_an_asking_lands_though_every_caller_has_left() -> None:
    flights, asked = SingleFlight[str](), Asked()
    caller = asyncio.create_task(flights.do("pet", asked.ask))
    await all_waiting([caller])
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    late = asyncio.create_task(flights.do("pet", asked.ask))
    await all_waiting([late])
    asked.answer.set_result("clusters")
    assert await late == ("clusters", True)
    assert asked.times == 1


async def test_an_error_is_told_to_all_and_not_kept() -> None:
    flights, asked = SingleFlight[str](), Asked()
    callers = [asyncio.create_task(flights.do("pet", asked.ask)) for _ in range(3)]
    await all_waiting(callers)
    asked.answer.set_exception(ConnectionError("away"))
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError] * 3
    back = Asked()
    back.answer.set_result("clusters")
    assert await flights.do("pet", back.ask) == ("clusters", False)


async def test_who_asks_again_at_once_behind_an_error_begins_anew() -> None:
    flights, failing, working = SingleFlight[str](), Asked(), Asked()
    working.answer.set_result("clusters")

    async def twice() -> tuple[str, bool]:
        try:
            return await flights.do("pet", failing.ask)
        except ConnectionError:
            return await flights.do("pet", working.ask)

    callers = [asyncio.create_task(twice()) for _ in range(2)]
    await all_waiting(callers)
    failing.answer.set_exception(ConnectionError("away"))
    assert {answer for answer, _ in await asyncio.gather(*callers)} == {"clusters"}
    assert (failing.times, working.times) == (1, 1)
