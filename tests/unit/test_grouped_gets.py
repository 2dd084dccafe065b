"""Reads that come together travel together, and each gets its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from projections.grouped_gets import MOST, GroupedGets

DEADLINE_SECONDS = 5.0


class FakeRedis:
    """Answers an MGET when the test says so. `asked`: the keys of each."""

    def __init__(self, **held: bytes) -> None:
        self.held = held
        self.asked: list[list[str]] = []
        self.error: Exception | None = None
        self.opened = asyncio.Event()
        self.opened.set()
        self.heeds_cancellation = True

    async def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        self.asked.append(list(keys))
        while not self.opened.is_set():
            try:
                await self.opened.wait()
            except asyncio.CancelledError:
                if self.heeds_cancellation:
                    raise
        if self.error is not None:
            raise self.error
        return [self.held.get(key) for key in keys]


def gets_of(redis: FakeRedis, seconds: float = DEADLINE_SECONDS) -> GroupedGets[bytes | None]:
    """Reads that take values as they are."""
    return GroupedGets(redis, parse=lambda value: value, seconds=seconds)


async def ran() -> None:
    """Every task has run up to where it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_while_one_is_under_way_the_others_wait_for_the_next() -> None:
    redis = FakeRedis(a=b"A", b=b"B")
    redis.opened.clear()
    gets = gets_of(redis)
    first = asyncio.create_task(gets.get("a"))
    await ran()
    others = [asyncio.create_task(gets.get(key)) for key in ("b", "c", "a", "b")]
    await ran()
    assert redis.asked == [["a"]]
    redis.opened.set()
    assert await asyncio.gather(first, *others) == [b"A", b"B", None, b"A", b"B"]
    assert redis.asked == [["a"], ["b", "c", "a"]]


async def test_a_group_is_bounded() -> None:
    redis = FakeRedis()
    gets = gets_of(redis)
    await asyncio.gather(*(gets.get(str(number)) for number in range(MOST + 1)))
    assert [len(keys) for keys in redis.asked] == [MOST, 1]


async def test_an_error_is_told_to_its_group_and_the_next_is_asked() -> None:
    redis = FakeRedis(a=b"A")
    redis.error = ConnectionError("cut off")
    gets = gets_of(redis)
    results = await asyncio.gather(gets.get("a"), gets.get("b"), return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError] * 2
    redis.error = None
    assert await gets.get("a") == b"A"


async def test_a_server_that_hangs_holds_up_no_later_reads() -> None:
    redis = FakeRedis(a=b"A")
    redis.opened.clear()
    gets = gets_of(redis, seconds=0.01)
    with pytest.raises(TimeoutError):
        await gets.get("a")
    redis.opened.set()
    assert await gets.get("a") == b"A"


async def test_who_waits_for_the_next_group_is_told_in_time_too() -> None:
    redis = FakeRedis(a=b"A", b=b"B")
    redis.opened.clear()
    redis.heeds_cancellation = False
    gets = gets_of(redis, seconds=0.01)
    readers = [asyncio.create_task(gets.get("a"))]
    await ran()
    readers.append(asyncio.create_task(gets.get("b")))
    await asyncio.wait(readers, timeout=DEADLINE_SECONDS)
    still_asked = list(redis.asked)
    redis.opened.set()
    results = await asyncio.gather(*readers, return_exceptions=True)
    assert [type(result) for result in results] == [TimeoutError] * 2
    assert still_asked == [["a"]], "it was under way all the time"
    assert await gets.get("b") == b"B"


async def test_a_value_is_parsed_once_for_all_its_readers_and_an_error_is_told_to_its_group() -> None:
    redis = FakeRedis(a=b"1", b=b"no number")
    parsed: list[bytes | None] = []

    def parse(value: bytes | None) -> int:
        parsed.append(value)
        return int(value or b"0")

    gets = GroupedGets(redis, parse=parse, seconds=DEADLINE_SECONDS)
    assert await asyncio.gather(*(gets.get("a") for _ in range(3))) == [1, 1, 1]
    assert parsed == [b"1"]
    results = await asyncio.gather(gets.get("a"), gets.get("b"), return_exceptions=True)
    assert [type(result) for result in results] == [ValueError] * 2
    assert await gets.get("c") == 0


async def test_a_reader_who_leaves_takes_it_from_nobody() -> None:
    redis = FakeRedis(a=b"A")
    redis.opened.clear()
    gets = gets_of(redis)
    readers = [asyncio.create_task(gets.get("a")) for _ in range(3)]
    await ran()
    readers[0].cancel()
    await ran()
    redis.opened.set()
    assert await asyncio.gather(*readers[1:]) == [b"A", b"A"]
    assert readers[0].cancelled()
