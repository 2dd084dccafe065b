"""`python -m app dead-letters`: what it prints, what it sends, and its exit code."""

from __future__ import annotations

import io
import json
import re
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from click.testing import CliRunner
from pydantic import SecretStr

import app.__main__  # noqa: F401 - registers the commands
from app.commands.command_line import command_line
from app.dead_letters.console import run
from app.dead_letters.request import Request
from app.local.kafka import KafkaServer
from app.local.ports import HOST, free_port
from app.settings import Settings
from projections.dead_letter_reader import DeadLetterRow, LetterFilter
from projections.pool import create_pool
from schemas.dead_letters import DeadLetterAction, decode_action
from schemas.headers import timestamp
from schemas.topics import Topics
from tests.conftest import TEST_PARTITIONS
from tests.integration.app_command import run_app
from tests.integration.projections.letters import action_on, letter, letter_uuid, write
from tests.integration.projections.samples import START

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
async def pool(migrated_url: str) -> AsyncIterator[Any]:
    async with create_pool(migrated_url, size=2, statement_timeout_ms=20_000, ssl_mode="disable") as opened:
        yield opened


@pytest.fixture
def command(tmp_path: Path, database_url: str) -> Command:
    """Runs the command in a process of its own, in a folder without a `.env`."""

    def run(*arguments: str, bootstrap: str = "", prefix: str = "", database: str = "") -> Any:
        return run_app(
            tmp_path,
            "dead-letters",
            *arguments,
            LOGNAME="operator",
            DATABASE_URL=database or database_url,
            KAFKA_BOOTSTRAP_SERVERS=bootstrap or f"{HOST}:{free_port()}",
            KAFKA_TOPIC_PREFIX=prefix,
        )

    return run


async def actions(kafka: KafkaServer, topics: Topics) -> list[DeadLetterAction]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(topics.deadletter_actions.name, n) for n in range(TEST_PARTITIONS)]
        total = sum((await consumer.end_offsets(partitions)).values())
        consumer.assign(partitions)
        found: list[DeadLetterAction] = []
        while len(found) < total:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += [decode_action(record.value) for record in records]
        return found
    finally:
        await consumer.stop()


async def test_letters_are_listed_and_shown_without_kafka(pool: Any, command: Command) -> None:
    await write(pool, *(letter(str(number), number) for number in range(3)), letter("[b]x", kind="too_large"))
    await write(pool, action_on("discard", "0"))
    done = command("list", "--limit", "2")
    assert (done.returncode, done.stderr) == (0, "")
    shown = re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", done.stdout)
    assert shown == [str(letter_uuid("2")), str(letter_uuid("1"))]
    assert "2 of 3 letters" in done.stdout
    cursor = done.stdout.partition("--cursor ")[2].split()[0]
    done = command("list", "--limit", "2", "--cursor", cursor)
    assert re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", done.stdout) == [str(letter_uuid("[b]x"))]
    assert "[b]x" in done.stdout, "no markup is taken from letters"
    assert "404 for 0" in command("list", "--state", "discarded", "--pet-id", "101").stdout

    done = command("show", str(letter_uuid("1")))
    assert done.returncode == 0
    assert "404 for 1" in done.stdout
    assert '"image_ids":["1"]' in done.stdout
    assert command("show", str(letter_uuid("none"))).returncode == 1


class Terminal(io.StringIO):
    """What is printed to it is formatted for a terminal of `COLUMNS`."""

    def isatty(self) -> bool:
        return True


async def test_a_list_is_whole_at_80_columns(pool: Any, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = {"pet_id": "p" * 128, "job_id": "j" * 128}
    await write(pool, letter("short"), letter("long", 1, reason="why\n" * 100, **ids))
    for name, value in {"COLUMNS": "80", "TERM": "xterm", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    request = Request(
        verb="list", ids=(), letters=LetterFilter(), limit=50, cursor=None, who="", why="", yes=False, as_json=False
    )
    shown = Terminal()
    assert await run(Settings(database_url=SecretStr(database_url)), request, shown) == 0
    lines = shown.getvalue().splitlines()
    assert max(map(len, (*lines[:1], *lines[2:]))) <= 80
    assert lines[-4:] == [
        f"{letter_uuid('short')}  {timestamp(START)[:19]}  open",
        "  image not_found, 101 / job_1 / short, run 1, 5 tries",
        "  404 for short",
        "2 of 2 letters",
    ]
    assert f"{'p' * 128} / {'j' * 128} / long" in lines[1], "ids are never cut off"
    assert lines[-5].startswith("  why why why")
    assert lines[-5].endswith("…")


async def test_json_has_the_fields_of_the_api_a_line_each(
    pool: Any, command: Command, kafka: KafkaServer, topics: Topics
) -> None:
    await write(pool, *(letter(str(number), number) for number in range(3)))
    done = command("list", "--limit", "2", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["id"] for line in lines] == [str(letter_uuid("2")), str(letter_uuid("1"))]
    assert all(tuple(line) == DeadLetterRow.__struct_fields__ for line in lines)
    cursor = done.stderr.removeprefix("next page: --cursor ").strip()
    (last,) = command("list", "--json", "--cursor", cursor).stdout.splitlines()
    assert json.loads(last)["reason"] == "404 for 0"
    shown = json.loads(command("show", str(letter_uuid("1")), "--json").stdout)
    assert json.loads(shown["payload"])["image_ids"] == ["1"]

    broker = {"bootstrap": kafka.bootstrap_servers, "prefix": topics.prefix}
    assert command("requeue", "--json", **broker).stdout == '{"count":3}\n'
    named = [str(letter_uuid("0")), str(letter_uuid("none"))]
    done = command("discard", *named, "--why", "gone", "--json", **broker)
    acted, refused = (json.loads(line) for line in done.stdout.splitlines())
    assert (done.returncode, acted["kind"], acted["letters"]) == (1, "discard", 1)
    assert refused == {"id": str(letter_uuid("none")), "reason": "no such dead letter is known"}


async def test_one_letter_is_requeued_and_one_discarded(
    pool: Any, command: Command, kafka: KafkaServer, topics: Topics
) -> None:
    await write(pool, letter("a"), letter("b"), letter("j", subject="job", job_id="job_2", image_id=""))
    broker = {"bootstrap": kafka.bootstrap_servers, "prefix": topics.prefix}
    done = command("requeue", str(letter_uuid("a")), "--why", "storage is back", **broker)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 actions confirmed, 0 letters refused" in done.stdout
    done = command("discard", str(letter_uuid("b")), "--why", "a duplicate", "--who", "ann", **broker)
    assert done.returncode == 0
    made = {action.kind: action for action in await actions(kafka, topics)}
    requeued, discarded = made["requeue"], made["discard"]
    assert (requeued.who, requeued.why, requeued.letters) == ("operator", "storage is back", (str(letter_uuid("a")),))
    assert [(each.run, each.image_ids) for each in requeued.commands] == [(2, ("a",))]
    assert (discarded.who, discarded.letters, discarded.commands) == ("ann", (str(letter_uuid("b")),), ())

    done = command("requeue", str(letter_uuid("j")), str(letter_uuid("none")), "--why", "try", **broker)
    assert done.returncode == 1
    assert f"refused {letter_uuid('j')}: no open letter of an image" in done.stdout
    assert f"refused {letter_uuid('none')}: no such dead letter is known" in done.stdout
    assert len(await actions(kafka, topics)) == 2


async def test_a_filter_is_counted_and_acted_on_with_yes_only(
    pool: Any, command: Command, kafka: KafkaServer, topics: Topics
) -> None:
    await write(pool, *(letter(str(number), kind="unavailable") for number in range(70)), letter("other"))
    broker = {"bootstrap": kafka.bootstrap_servers, "prefix": topics.prefix}
    done = command("requeue", "--kind", "unavailable", **broker)
    assert (done.returncode, done.stdout) == (0, "70 letters; add --yes to requeue them\n")
    assert await actions(kafka, topics) == []

    done = command("requeue", "--kind", "unavailable", "--why", "storage is back", "--yes", **broker)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 actions confirmed, 0 letters refused" in done.stdout
    (made,) = await actions(kafka, topics)
    assert [each.parts for each in made.commands] == [2, 2]
    assert {image_id for each in made.commands for image_id in each.image_ids} == {str(n) for n in range(70)}


async def test_letters_of_one_run_that_are_named_together_are_one_requeue(
    pool: Any, command: Command, kafka: KafkaServer, topics: Topics
) -> None:
    await write(pool, letter("a"), letter("b"), letter("c", job_id="job_2"))
    broker = {"bootstrap": kafka.bootstrap_servers, "prefix": topics.prefix}
    ids = [str(letter_uuid(name)) for name in ("a", "c", "b", "a")]
    done = command("requeue", *ids, "--why", "storage is back", **broker)
    assert (done.returncode, done.stderr) == (0, "")
    made = {action.job_id: action for action in await actions(kafka, topics)}
    assert {job: [each.image_ids for each in action.commands] for job, action in made.items()} == {
        "job_1": [("a", "b")],
        "job_2": [("c",)],
    }


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["requeue", "--yes"], "--why is needed"),
        (["discard", str(letter_uuid("a"))], "--why is needed"),
        (["show"], "show takes one id"),
        (["list", str(letter_uuid("a"))], "no ids"),
        (["show", "7"], "must be a UUID"),
        (["list", "--state", "lost"], "'--state': 'lost' is not one of 'open', 'requeued', 'discarded', 'all'"),
        (["list", "--subject", "pet"], "'--subject': 'pet' is not one of"),
        (["list", "--since", "yesterday"], "Error: --since: "),
        (["list", "--pet-id", "a\0b"], "Error: --pet-id: "),
        (["requeue", str(letter_uuid("a")), "--kind", "x", "--why", "y"], "not both"),
        (["list", "--cursor", "junk"], "cursor: is not one that this service gave out"),
        (["discard", str(letter_uuid("a")), "--why", "\udcff"], "must be UTF-8"),
        (["discard", str(letter_uuid("a")), "--why", "w" * 1001], "--why: has 1001 characters"),
        (["lose"], "lose"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(command_line, ["dead-letters", *arguments])
    assert done.exit_code == 2
    assert reason in done.output
    assert "Traceback" not in done.output


def test_a_user_without_a_name_is_asked_for_one_only_to_act(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user may have a number that no file of users knows."""
    asked: list[Request] = []

    async def run(_settings: object, request: Request, _out: object) -> int:
        asked.append(request)
        return 0

    def nobody(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("app.dead_letters.console.run", run)
    monkeypatch.setattr("app.commands.dead_letters.configure_command_logging", lambda *_: None)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    letter_id = str(letter_uuid("a"))
    for reads in (["list"], ["show", letter_id], ["requeue", "--kind", "x"]):
        assert CliRunner().invoke(command_line, ["dead-letters", *reads]).exit_code == 0
    for acts in (["requeue", letter_id], ["discard", "--yes"]):
        done = CliRunner().invoke(command_line, ["dead-letters", *acts, "--why", "gone"])
        assert (done.exit_code, done.output.count("\n")) == (2, 1)
        assert "--who is needed" in done.output
    assert CliRunner().invoke(command_line, ["dead-letters", *acts, "--why", "gone", "--who", "ann"]).exit_code == 0
    assert [request.who for request in asked] == ["", "", "", "ann"]


async def test_exit_code_0_is_given_only_after_the_brokers_word(pool: Any, command: Command) -> None:
    await write(pool, letter("a"))
    done = command("requeue", str(letter_uuid("a")), "--why", "try")
    assert done.returncode == 1
    assert re.fullmatch(r"stopped: Kafka at KAFKA_BOOTSTRAP_SERVERS=\S+ did not confirm .+\n", done.stderr)
    assert "confirmed" not in done.stdout


def test_postgres_being_away_is_told_in_one_line(command: Command) -> None:
    done = command("list", database=f"postgresql://postgres@{HOST}:{free_port()}/none")
    assert done.returncode == 1
    assert done.stderr.startswith("stopped: Postgres at DATABASE_URL=postgresql://")
    assert "Traceback" not in done.stderr
