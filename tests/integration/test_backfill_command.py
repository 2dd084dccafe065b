"""`python -m app backfill` on a real broker: killed in the middle, repeated, with bad lines, without a broker."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.backfill.display import Display
from app.backfill.lines import job_id_of
from app.backfill.progress_file import Done, load_done
from app.backfill.run import Backfill
from app.local.kafka import KafkaServer
from app.views.services import KafkaUnavailable
from bridges.messages import Message
from schemas.commands import EmbedImages, decode_command
from schemas.errors import StopProcess
from schemas.headers import header, utc_now
from schemas.topics import Topics
from tests.conftest import TEST_PARTITIONS
from tests.integration.projections.samples import eventually

ROOT = Path(__file__).parents[2]
PETS = 120
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path, kafka: KafkaServer, topics: Topics) -> Start:
    """Starts the command in a folder of its own."""

    def run(*arguments: str, bootstrap: str = "") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "app", "backfill", *arguments],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "KAFKA_BOOTSTRAP_SERVERS": bootstrap or kafka.bootstrap_servers,
                "KAFKA_TOPIC_PREFIX": topics.prefix,
            },
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


def ended(process: subprocess.Popen[str], given: str | None = None) -> tuple[int, str, str]:
    out, errors = process.communicate(given, timeout=120)
    return process.returncode, out, errors


async def submitted(kafka: KafkaServer, topics: Topics) -> list[tuple[str, EmbedImages]]:
    """All commands of the topic with their `ce_id`."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        asked = [TopicPartition(topics.jobs.name, number) for number in range(TEST_PARTITIONS)]
        consumer.assign(asked)
        ends, found = await consumer.end_offsets(asked), []
        for partition in asked:
            while await consumer.position(partition) < ends[partition]:
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    found += [(header(each.headers, "ce_id"), decode_command(each.value)) for each in records]
        return found
    finally:
        await consumer.stop()


def state_of(folder: Path, run: str) -> Path:
    """Where the run's notes stand unless told otherwise."""
    return folder / ".local/state/backfill" / f"{run}.state"


def write_pets(path: Path, number: int = PETS) -> None:
    path.write_text("".join(f"pet-{n},img-{n}-1,img-{n}-2\n" for n in range(number)))


async def test_killed_in_the_middle_and_run_again_every_pet_has_exactly_one_job(
    tmp_path: Path, kafka: KafkaServer, topics: Topics, start: Start
) -> None:
    write_pets(tmp_path / "pets.csv")
    state = state_of(tmp_path, "pets")
    kills = 0
    for least in (20, 60):  # the second kill hits a run that was resumed
        process = start("--file", "pets.csv", "--rate", "20")
        await eventually(partial(_has_done, state, least), 60)
        process.kill()
        assert ended(process)[0] == -9
        kills += 1
        assert load_done(state, "pets").lines < PETS
    code, out, errors = ended(start("--file", "pets.csv", "--rate", "1000"))
    assert (code, errors) == (0, "")
    all_of_it = f"{PETS} jobs of {2 * PETS} images in {PETS} commands submitted, 0 of {PETS} lines refused\n"
    assert out.endswith(f"\nin all, with the runs before: {all_of_it}")

    found = await submitted(kafka, topics)
    jobs = defaultdict(set)
    for ce_id, command in found:
        jobs[command.pet_id].add((ce_id, command.job_id, command.image_ids))
    assert jobs == {
        f"pet-{n}": {(EmbedImages(pet_id=f"pet-{n}", job_id=job_id_of("pets", f"pet-{n}")).id,
                      job_id_of("pets", f"pet-{n}"), (f"img-{n}-1", f"img-{n}-2"))}
        for n in range(PETS)
    }  # fmt: skip
    assert len(found) <= PETS + kills * 20, "what is repeated is what a second takes, at each kill"

    code, out, _ = ended(start("--file", "pets.csv"))
    assert code == 0
    assert out == f"nothing new: all {PETS} lines were done before\nin all, with the runs before: {all_of_it}"
    assert len(await submitted(kafka, topics)) == len(found), "what is done is not submitted again"


async def _has_done(state: Path, least: int) -> bool:
    return load_done(state, "pets").lines >= least


async def test_without_its_notes_a_repeat_submits_the_same_ids(
    tmp_path: Path, kafka: KafkaServer, topics: Topics, start: Start
) -> None:
    write_pets(tmp_path / "pets.csv", 5)
    for _ in range(2):
        assert ended(start("--file", "pets.csv", "--rate", "100"))[0] == 0
        state_of(tmp_path, "pets").unlink()
    found = await submitted(kafka, topics)
    assert len(found) == 10
    assert len({ce_id for ce_id, _ in found}) == 5
    assert {command.source for _, command in found} == {"backfill:pets"}


async def test_bad_lines_are_told_and_the_others_go(
    tmp_path: Path, kafka: KafkaServer, topics: Topics, start: Start
) -> None:
    given = 'a,1\nb/c,1\n{"pet_id": "d", "image_ids": ["x", 7]}\na,2\n{"pet_id": "e"}\n'
    dry = ended(start("--file", "-", "--dry-run"), given)
    assert dry[0] == 1
    assert dry[1].endswith("2 jobs of 1 images in 2 commands would be submitted, 3 of 5 lines refused\n")
    assert not state_of(tmp_path, "stdin").exists()
    assert await submitted(kafka, topics) == []

    code, out, errors = ended(start("--file", "-", "--run", "first", "--json"), given)
    assert (code, errors) == (1, "")
    events = [json.loads(line) for line in out.splitlines()]
    assert [(each["line"], each["field"]) for each in events if each["event"] == "refused"] == [
        (2, "pet_id"),
        (3, "image_ids[1]"),
        (4, "pet_id"),
    ]
    counts = {"lines": 5, "jobs": 2, "commands": 2, "images": 1, "refused": 3}
    assert events[-1] == {"event": "end", **counts, "in_all": counts, "dry_run": False}
    assert sorted(command.pet_id for _, command in await submitted(kafka, topics)) == ["a", "e"]
    code, out, _ = ended(start("--file", "-", "--run", "first", "--json"), given + "f,1\n")
    assert code == 1, "an earlier run has refused lines"
    grown = {"lines": 1, "jobs": 1, "commands": 1, "images": 1, "refused": 0}
    in_all = {name: counts[name] + grown[name] for name in counts}
    end = json.loads(out.splitlines()[-1])
    assert end == {"event": "end", **grown, "in_all": in_all, "dry_run": False}, "a file may grow"


async def test_large_jobs_are_split_as_the_api_does(
    tmp_path: Path, kafka: KafkaServer, topics: Topics, start: Start
) -> None:
    (tmp_path / "pets.jsonl").write_text(json.dumps({"pet_id": "a", "image_ids": [f"i{n}" for n in range(150)]}))
    assert ended(start("--file", "pets.jsonl", "--rate", "1000"))[0] == 0
    found = [command for _, command in await submitted(kafka, topics)]
    assert [(command.part, command.parts, len(command.image_ids)) for command in found] == [
        (1, 3, 64),
        (2, 3, 64),
        (3, 3, 22),
    ]


def test_what_cannot_be_done_is_one_line(tmp_path: Path, start: Start) -> None:
    write_pets(tmp_path / "pets.csv", 5)
    assert ended(start("--file", "pets.csv", "--rate", "100"))[0] == 0
    write_pets(tmp_path / "other.csv", 5)
    (tmp_path / "other.csv").rename(tmp_path / "pets.csv")
    changed = (tmp_path / "pets.csv").read_text().replace("pet-3", "pet-x")
    (tmp_path / "pets.csv").write_text(changed)
    state = str(state_of(Path(), "pets"))
    for arguments, said in (
        (("--file", "pets.csv"), "--file: its first 5 lines are not those that were submitted"),
        (("--file", "pets.csv", "--run", "b", "--state-file", state), f"--state-file {state}: is of the run 'pets', "),
        (("--file", "none.csv"), "--file: cannot be read: "),
        (("--file", "pets.csv", "--run", "a b"), "--run: must be"),
        (("--file", "pets.csv", "--state-file", "no/where"), "--state-file no/where: cannot be written: "),
    ):
        code, out, errors = ended(start(*arguments))
        assert (code, out) == (1, ""), errors
        assert errors.startswith(f"stopped: {said}")
        assert errors.count("\n") == 1
    (tmp_path / state).write_text("{")
    assert ended(start("--file", "pets.csv"))[2].startswith(f"stopped: --state-file {state}: cannot be read: ")


class _Broker:
    """Refuses the first calls."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.sent: list[Message] = []

    async def send(self, messages: Sequence[Message]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise KafkaUnavailable("not connected")
        self.sent += messages


def backfill_of(broker: _Broker, tmp_path: Path, **more: Any) -> Backfill:
    values: dict[str, Any] = {
        "run": "r", "state_file": tmp_path / "state", "rate": 1000.0, "send": broker.send, "topics": Topics(""),
        "clock": utc_now, "display": Display(io.StringIO(), as_json=False, total_bytes=None),
    }  # fmt: skip
    return Backfill(io.BytesIO(b"a,1\nb,1\n"), **values | more)


async def test_nothing_is_noted_before_the_brokers_word(tmp_path: Path) -> None:
    away = _Broker(refusals=10**9)
    with pytest.raises(StopProcess, match="run it again"):
        await backfill_of(away, tmp_path, give_up_s=0.3).work()
    assert not (tmp_path / "state").exists()

    back = _Broker(refusals=2)
    done = await backfill_of(back, tmp_path).work()
    assert [msgspec.json.decode(each.value)["pet_id"] for each in back.sent] == ["a", "b"]
    assert load_done(tmp_path / "state", "r") == done
    assert (done.lines, done.jobs) == (2, 2)


async def test_the_rate_bounds_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr("app.backfill.run.asyncio.sleep", noted)
    broker = _Broker(refusals=0)
    await backfill_of(broker, tmp_path, rate=0.5).work()
    assert len(broker.sent) == 2
    assert waits[0] <= 0
    assert waits[1] == pytest.approx(2, abs=0.5), "one command, half a command a second"
    assert isinstance(load_done(tmp_path / "state", "r"), Done)
