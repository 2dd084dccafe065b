"""A source that is away is left alone for a while."""

from __future__ import annotations

import pytest

from agents.images.errors import ImageError
from agents.images.fail_fast import FailFast, asked_anyway
from schemas.errors import RetryLater


class Source:
    """Fails as it is told, and counts how often it is asked."""

    max_bytes = 10

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = RetryLater("503")

    async def fetch(self, _image_id: str) -> bytes:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return b"image"

    async def list_images(self, _pet_id: str) -> tuple[str, ...] | None:
        await self.fetch("")
        return ()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def failing(source: FailFast, times: int) -> None:
    for _ in range(times):
        with pytest.raises(RetryLater):
            await source.fetch("a")


async def test_after_failures_in_a_row_the_source_is_asked_once_a_pause() -> None:
    inner, clock = Source(), Clock()
    source = FailFast(inner, failures=3, pause=2.0, clock=clock)
    await failing(source, 10)
    assert inner.asked == 3
    clock.now = 2.0
    await failing(source, 10)
    assert inner.asked == 4
    clock.now = 4.0
    inner.error = None
    assert await source.fetch("a") == b"image"
    assert await source.list_images("rex") == ()
    assert inner.asked == 6


async def test_failures_between_answers_close_nothing() -> None:
    inner = Source()
    source = FailFast(inner, failures=3, clock=Clock())
    for _ in range(5):
        inner.error = RetryLater("503")
        await failing(source, 2)
        inner.error = ImageError("not_found", "404")
        with pytest.raises(ImageError):
            await source.fetch("a")
    assert inner.asked == 15


async def test_a_call_of_asked_anyway_is_made_in_spite_of_a_pause_and_an_answer_ends_it() -> None:
    inner = Source()
    source = FailFast(inner, failures=1, clock=Clock())
    await failing(source, 2)
    assert inner.asked == 1
    with asked_anyway():
        await failing(source, 1)
        assert inner.asked == 2
        inner.error = None
        assert await source.fetch("a") == b"image"
    inner.error = RetryLater("503")
    await failing(source, 1)
    assert inner.asked == 4
    await failing(source, 1)
    assert inner.asked == 4
