"""A fold worker asks whether its generation folds before the first event of each generation of its group."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from agents.fold import Folder
from app.roles.fold_generation import is_older
from schemas.errors import StopProcess
from schemas.generations import Generation, GenerationState, decode_generation, encode_generation, standing
from tests.unit.test_delivery import Aborted, FakeEvent, FakeMessage, abort


@dataclass
class LogMessage(FakeMessage):
    partition: int = 0


class Turn:
    """Who is asked. `over`: from which call on another generation folds."""

    def __init__(self, over: int) -> None:
        self.calls = 0
        self._over = over

    async def check(self) -> None:
        self.calls += 1
        if self.calls >= self._over:
            raise StopProcess("another generation folds")


class NobodysDelivery:
    """Admits nothing, and notes what it was asked for."""

    abort = staticmethod(abort)

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def admit(self, event: FakeEvent) -> None:
        self.asked.append(event.message.offset)


class Stream:
    def __init__(self, events: list[FakeEvent]) -> None:
        self._events = events

    def noack(self) -> Stream:
        return self

    async def events(self) -> AsyncIterator[FakeEvent]:
        for event in self._events:
            yield event


def folder(turn: Turn) -> tuple[Folder, NobodysDelivery]:
    delivery: Any = NobodysDelivery()
    table: Any = {}
    return Folder(delivery, table, {}, check_turn=turn.check), delivery


def events(*generations: int) -> Any:
    return Stream([FakeEvent(LogMessage(offset, generation_id=g), []) for offset, g in enumerate(generations)])


async def test_it_asks_once_in_each_generation_of_the_group() -> None:
    turn = Turn(over=9)
    work, delivery = folder(turn)
    await work.run(events(4, 4, 4, 5, 5))
    assert (turn.calls, delivery.asked) == (2, [0, 1, 2, 3, 4])


async def test_nothing_is_admitted_once_another_one_folds() -> None:
    work, delivery = folder(Turn(over=2))
    with pytest.raises(Aborted, match="fold of offset 2 failed: StopProcess"):
        await work.run(events(4, 4, 5, 5))
    assert delivery.asked == [0, 1]


def record(generation: int, state: GenerationState, previous: int = 0) -> Generation:
    return Generation(generation=generation, state=state, release="1.2.3", time="", previous=previous)


def test_what_the_records_say_together() -> None:
    records: list[Generation] = []

    def told(*more: Generation) -> tuple[int, int, bool, int, int]:
        records.extend(decode_generation(encode_generation(each)) for each in more)
        found = standing(records)
        under_way = found.under_way.generation if found.under_way else 0
        return found.live.generation, under_way, found.handing_over, found.kept, found.highest

    assert told() == (1, 0, False, 0, 1)
    assert told(record(2, "building", 1)) == (1, 2, False, 0, 2)
    assert told(record(2, "handing_over", 1)) == (1, 2, True, 0, 2)
    assert told(record(2, "building", 1)) == (1, 2, False, 0, 2), "taken back"
    assert told(record(2, "live", 1)) == (2, 0, False, 1, 2)
    assert told(record(3, "building", 2), record(3, "given_up", 2)) == (2, 0, False, 1, 3)
    assert told(record(1, "building", 2), record(1, "live", 2)) == (1, 0, False, 2, 3)
    assert told(record(2, "given_up", 2)) == (1, 0, False, 0, 3), "there is nothing to go back to"


@pytest.mark.parametrize("value", [b"", b"{}", b'{"format":2,"generation":2,"state":"live","release":"1","time":""}'])
def test_nobody_guesses_what_a_record_says(value: bytes) -> None:
    with pytest.raises(StopProcess, match=r"media\.fold\.generations holds"):
        decode_generation(value)


@pytest.mark.parametrize(
    ("release", "other", "older"),
    [("0.1.0", "0.1.0", False), ("0.1.9", "0.1.10", True), ("0.1.0", "0", False), ("1.0.0", "0.9.9", False)],
)
def test_releases_are_compared_number_by_number(release: str, other: str, older: bool) -> None:
    assert is_older(release, other) is older
