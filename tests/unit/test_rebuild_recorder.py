"""What a rebuild tells is kept for the API, and a rebuild never waits for that."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from app.progress import Display, Tally
from app.rebuild.recorder import Recorder
from projections.rebuild_progress import RebuildProgress
from projections.shadow.runs import Mark


class Board:
    """Keeps what is put, or is away."""

    def __init__(self, *, away: bool = False) -> None:
        self.put_so_far: list[RebuildProgress] = []
        self._away = away

    async def put(self, progress: RebuildProgress) -> None:
        if self._away:
            raise RedisConnectionError("nobody there")
        self.put_so_far.append(progress)


class Clock:
    def __init__(self) -> None:
        self._now = datetime(2026, 11, 21, tzinfo=UTC)

    def __call__(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now


def recorder(board: Any) -> tuple[Recorder, Display, io.StringIO]:
    out = io.StringIO()
    display = Display(out, as_json=True)
    made = Recorder(board, display, "postgres", Clock())
    display.listener = made.told
    return made, display, out


async def test_the_last_step_its_figures_and_its_end_are_kept() -> None:
    board = Board()
    made, display, _ = recorder(board)
    async with made.recording():
        display.following(Tally())(Mark(0, next_offset=30, end_offset=90, events=30, versions=20))
    (last,) = board.put_so_far[-1:]
    assert (last.projection, last.state, last.step, last.done, last.total) == ("postgres", "ended", "copying", 30, 90)
    assert last.per_second > 0
    assert last.seconds_left is not None
    assert last.details == {"events": "30", "versions": "20", "images": "0"}
    assert last.updated_at > last.started_at


async def test_a_failure_is_kept_with_its_reason() -> None:
    board = Board()
    made, display, _ = recorder(board)

    async def fail() -> None:
        async with made.recording():
            display.say("indexing")
            raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        await fail()
    assert (board.put_so_far[-1].state, board.put_so_far[-1].error) == ("failed", "no room")


async def test_one_that_was_refused_leaves_the_other_ones_figures_alone() -> None:
    board = Board()
    made, _, _ = recorder(board)
    with pytest.raises(ValueError, match="another rebuild"):
        async with made.recording():
            raise ValueError("another rebuild is under way")
    assert board.put_so_far == []


async def test_without_redis_it_goes_on_and_says_so_once() -> None:
    made, display, out = recorder(Board(away=True))
    async with made.recording():
        display.say("indexing")
        await made._put()
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [each["step"] for each in told] == ["indexing", "progress is not kept for the API"]
    assert told[1]["reason"] == "Redis: ConnectionError"
