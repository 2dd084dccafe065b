"""`python -m app compare` between a server with the predecessor's recorded answers and our API over real stores."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.topics import Topics
from tests.contract import web_rig
from tests.contract.web_rig import Api, Stores, nowhere, serving
from tests.integration.app_command import ROOT, SECONDS, run_app
from tests.integration.predecessor import TOKEN, UPDATED, predecessor, redis_value, state
from tests.integration.projections.samples import cluster, eventually, member, version

MANY = tuple(f"photo-{number:03}" for number in range(26))
LOOSE = tuple(f"loose-{number:03}" for number in range(300))
ANSWERS: dict[str, Any] = {
    "101": state("101", MANY[:24], ("x", "y")),  # it lists 24 photos of a cluster at most
    "102": state("102", ("a", "b"), ("c", "d")),
    "103": state("103", ("a", "b")),
    "106": 500,
    "107": b"<html>",
    "108": {**state("108", ("a", "b")), "generation": 1, "version": 1},
    "109": state("109"),
}
PETS = "pet_id\n101\n102,img-1\n103\n104\n105\n106\n107\n108\n109\nno/id\n101\n"
Command = Callable[..., Awaitable[Process]]


@pytest.fixture
async def api(migrated_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """Our API with pets 101, 102, 104 and 109."""
    stores = Stores(migrated_url, redis_url, nowhere(), Topics("none."))
    async with serving(stores, tmp_path / "web") as running:
        members = [*(member(photo, 4) for photo in MANY), *(member(photo, -1, 0.0, "opened") for photo in LOOSE)]
        await running.project(
            version(
                "101", 1, (*members, member("x", 7), member("y", 7)),
                (cluster(4, 26, MANY[3], MANY[0]), cluster(7, 2, "x")),
                image_count=328, unclustered_count=300,
            )
        )  # fmt: skip
        four = tuple(member(photo, 0) for photo in "abcd")
        await running.project(version("102", 1, four, (cluster(0, 4, "c"),)))
        for pet in ("104", "109"):
            await running.project(version(pet, 1, (member("a", 0), member("b", 0)), (cluster(0, 2, "a"),)))
        yield running


@pytest.fixture
def start(api: Api, tmp_path: Path, database_url: str) -> Command:
    """Starts the command against our API, in a folder of its own."""

    async def run(*arguments: str, **variables: str) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app", "compare", "--url", str(api.session._base_url), "--rate", "1000", *arguments,
            env={
                "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "INTERNAL_TOKEN": web_rig.TOKEN,
                "PREDECESSOR_TOKEN": TOKEN, "DATABASE_URL": database_url, **variables,
            },
            cwd=tmp_path, stdin=PIPE, stdout=PIPE, stderr=PIPE,
        )  # fmt: skip

    return run


async def ended(process: Process, given: str = PETS) -> tuple[int | None, str, str]:
    async with asyncio.timeout(SECONDS):
        out, errors = await process.communicate(given.encode())
    return process.returncode, out.decode(), errors.decode()


def events(out: str) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """Pets by id, refused lines, and the end."""
    told = [json.loads(line) for line in out.splitlines()]
    return (
        {each["pet_id"]: each for each in told if each["event"] == "pet"},
        [each for each in told if each["event"] == "refused"],
        told[-1],
    )


async def test_every_pet_is_told_and_the_sum_says_whether_it_is_enough(start: Command, tmp_path: Path) -> None:
    async with predecessor(ANSWERS) as server:
        url = server.url.replace("//", "//user:hush@")
        given = ("--predecessor-url", url, "--pets", "-", "--report", "report.md")
        code, out, errors = await ended(await start(*given, "--json", "--min-agreement", "0.1"))
        assert (code, errors) == (0, "")
        assert server.asked == [str(number) for number in range(101, 110)], "one after the other, each once"
        code, text, _ = await ended(await start(*given, "--min-agreement", "0.9"))
    assert code == 1
    assert "agreement 0.167, below 0.9 as demanded" in text

    pets, refused, end = events(out)
    whole = pets["101"]
    assert (whole["outcome"], whole["score"], whole["missing"], whole["only_here"]) == ("both", 1.0, [], 302)
    assert (whole["photos_there"], whole["photos_here"]) == (26, 328), "all pages of ours were read"
    assert (whole["heroes"], whole["heroes_same"], whole["heroes_known"]) == (2, 1, 2)
    assert (whole["updated_there"], whole["updated_here"]) == (UPDATED, "2026-11-21T07:49:25.624049+00:00")
    assert min(whole["seconds_there"], whole["seconds_here"]) > 0
    assert pets["102"]["score"] == 0
    outcomes = {pet: each["outcome"] for pet, each in pets.items()}
    assert outcomes == {
        "101": "both", "102": "both", "103": "missing_here", "104": "missing_there", "105": "neither",
        "106": "error", "107": "error", "108": "error", "109": "both",
    }  # fmt: skip
    assert pets["106"]["error"] == "predecessor: HTTP 500: Internal Server Error"
    assert pets["107"]["error"].startswith("predecessor: no answer of the predecessor: JSON is malformed")
    assert "answer of this service" in pets["108"]["error"]
    assert [(each["line"], each["field"]) for each in refused] == [(11, "pet_id"), (12, "pet_id")]
    assert (end["asked"], end["compared"], end["agreement"], end["enough"]) == (9, 6, pytest.approx(1 / 6), True)
    assert end["photos"] == {"there": 30, "missing": 0, "only_here": 304}

    report = (tmp_path / "report.md").read_text()
    assert "**Agreement 0.167, below 0.9 as demanded.**" in report
    assert "| 103 | 0.000 |  |  |  |  |  | " in report
    assert "HTTP 500" in report
    for told in (out, text, report):
        assert "hush" not in told
        assert TOKEN not in told
        assert web_rig.TOKEN not in told


async def test_its_redis_says_the_same_as_its_api(start: Command, api: Api, redis_url: str) -> None:
    known = {pet: answer for pet, answer in ANSWERS.items() if isinstance(answer, dict) and "version" not in answer}
    for pet, answer in known.items():
        await api.redis.set(f"its.own:state:{pet}", redis_value(answer))
    await api.redis.set("its.own:state:108", json.dumps(ANSWERS["108"], separators=(",", ":")))
    await api.redis.set("its.own:state:107", "<html>")
    before = await api.redis.dbsize()
    code, out, errors = await ended(
        await start("--pets", "-", "--json", PREDECESSOR_REDIS_URL=redis_url, PREDECESSOR_NAMESPACE="its.own")
    )
    assert (code, errors) == (1, "")
    pets, _, _ = events(out)
    async with predecessor(ANSWERS) as server:
        _, out, _ = await ended(await start("--pets", "-", "--json", PREDECESSOR_URL=server.url))
    by_api, _, _ = events(out)
    for pet in (*known, "104", "105"):
        different = {"seconds_there", "seconds_here"}
        assert {k: v for k, v in pets[pet].items() if k not in different} == {
            k: v for k, v in by_api[pet].items() if k not in different
        }
    assert [pets[pet]["outcome"] for pet in ("107", "108")] == ["error", "error"]
    assert "answer of this service" in pets["108"]["error"]
    assert await api.redis.dbsize() - before <= 4, "only our own API has put answers there"


async def test_pets_at_random_are_those_of_our_postgres(start: Command) -> None:
    async with predecessor(ANSWERS) as server:
        code, out, errors = await ended(await start("--predecessor-url", server.url, "--sample", "3", "--json"))
        assert (code in (0, 1), errors) == (True, ""), "which it is depends on the pets"
        pets, _, end = events(out)
        assert len(pets) == 3
        assert set(pets) <= {"101", "102", "104", "109"}
        assert end["asked"] == 3
        code, out, _ = await ended(await start("--predecessor-url", server.url, "--sample", "100", "--json"))
        assert code == 1, "of all, one lies too far apart"
        assert set(events(out)[0]) == {"101", "102", "104", "109"}, "all, where there are no more"


async def test_stopped_in_the_middle_it_reports_what_it_has(start: Command, tmp_path: Path) -> None:
    async with predecessor({**ANSWERS, "103": asyncio.Event()}) as server:
        process = await start("--predecessor-url", server.url, "--pets", "-", "--json", "--report", "r.md")
        assert process.stdin is not None
        process.stdin.write(PETS.encode())
        process.stdin.close()
        await eventually(lambda: asyncio.sleep(0, "103" in server.asked))
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(SECONDS):
            out, errors = await process.stdout.read(), await process.stderr.read()  # type: ignore[union-attr]
            assert (await process.wait(), errors) == (130, b"stopped: interrupted\n")
        server.answers["103"].set()
    pets, _, end = events(out.decode())
    assert list(pets) == ["101", "102"]
    assert (end["stopped"], end["asked"]) == (True, 2)
    assert "stopped before the end" in (tmp_path / "r.md").read_text()


async def test_a_side_that_is_away_or_refuses_ends_nothing(start: Command) -> None:
    pets = "101\n102\n"
    url = ("--predecessor-url", f"http://{nowhere()}", "--pets", "-", "--json")
    code, out, errors = await ended(await start(*url), pets)
    assert (code, errors) == (1, "")
    assert all("ClientConnectorError" in each["error"] for each in events(out)[0].values())
    async with predecessor(ANSWERS) as server:
        code, out, _ = await ended(await start("--pets", "-", PREDECESSOR_URL=server.url, PREDECESSOR_TOKEN="no"), pets)
        assert code == 1
        assert '101: predecessor: HTTP 401: {"detail": "invalid internal token"}' in out
        other = ("--predecessor-url", server.url + "/elsewhere", "--pets", "-", "--json")
        code, out, _ = await ended(await start(*other), pets)
        assert {each["outcome"] for each in events(out)[0].values()} == {"error"}, "another path's 404 is no answer"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--predecessor-url", "http://h"), 2, "one of --pets and --sample is needed"),
        (("--predecessor-url", "http://h", "--pets", "x", "--sample", "1"), 2, "one of --pets and --sample is needed"),
        (("--pets", "-"), 2, "one of --predecessor-url and --predecessor-redis is needed"),
        (("--predecessor-url", "ftp://h", "--pets", "-"), 2, "--predecessor-url: must be an http:// or https:// URL"),
        (("--predecessor-redis", "http://h", "--pets", "-"), 2, "--predecessor-redis: Redis URL must specify"),
        (("--predecessor-url", "http://h", "--pets", "none.csv"), 1, "--pets: cannot be read"),
        (("--predecessor-url", "http://h", "--pets", "-", "--report", "no/where"), 1, "--report: cannot be written"),
    ],
)
def test_what_cannot_be_done_is_told(tmp_path: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = run_app(tmp_path, "compare", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
