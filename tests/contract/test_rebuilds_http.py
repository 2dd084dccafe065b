"""How far rebuilds are, over HTTP."""

from __future__ import annotations

import json
from pathlib import Path

from projections.rebuild_progress import ProgressBoard, RebuildProgress
from schemas.topics import Topics
from tests.contract.web_rig import Stores, nowhere, serving

PATH = "/internal/rebuilds"


def progress(projection: str, started: str) -> RebuildProgress:
    return RebuildProgress(
        projection=projection,
        state="running",
        step="copying",
        started_at=f"2026-11-21T{started}:00.000000+00:00",
        updated_at="2026-11-21T12:00:00.000000+00:00",
        done=3,
        total=9,
        per_second=1.5,
        seconds_left=4.0,
        details={"versions": "2"},
    )


async def test_the_newest_of_each_projection_is_told(redis_url: str, tmp_path: Path) -> None:
    async with serving(Stores("postgresql://nobody@" + nowhere(), redis_url, nowhere(), Topics()), tmp_path) as api:
        nothing = await api.call("GET", PATH)
        assert (nothing.status, json.loads(nothing.body)["data"]) == (200, [])
        board = ProgressBoard(api.redis, "test.clusters")
        for each in (progress("tables", "08:00"), progress("postgres", "07:00"), progress("postgres", "09:00")):
            await board.put(each)
        told = json.loads((await api.call("GET", PATH)).body)["data"]
        assert [(each["projection"], each["started_at"][11:16]) for each in told] == [
            ("postgres", "09:00"),
            ("tables", "08:00"),
        ]
        assert told[0] | {"projection": "", "started_at": "", "updated_at": ""} == {
            "projection": "", "state": "running", "step": "copying", "started_at": "", "updated_at": "", "done": 3,
            "total": 9, "per_second": 1.5, "seconds_left": 4.0, "details": {"versions": "2"}, "error": "",
        }  # fmt: skip
        assert (await api.call("GET", PATH, token=None)).status == 401


async def test_without_redis_it_is_503(tmp_path: Path) -> None:
    stores = Stores("postgresql://nobody@" + nowhere(), f"redis://{nowhere()}/0", nowhere(), Topics())
    async with serving(stores, tmp_path) as api:
        away = await api.call("GET", PATH)
    assert (away.status, json.loads(away.body)["error"]["code"]) == (503, "progress_unavailable")
