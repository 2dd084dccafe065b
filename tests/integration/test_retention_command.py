"""`python -m app retention` and `pins`: what they print, what they do, and their exit codes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from app.local.ports import HOST, free_port
from projections.pool import create_pool
from tests.integration.app_command import run_app
from tests.integration.projections.test_retention import START, VERSIONS, grow, versions_of

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
async def pool(migrated_url: str) -> AsyncIterator[Any]:
    async with create_pool(migrated_url, size=2, statement_timeout_ms=20_000, ssl_mode="disable") as opened:
        yield opened


@pytest.fixture
def command(tmp_path: Path, database_url: str) -> Command:
    """Runs a command in a process of its own, in a folder without a `.env`."""

    def run(*arguments: str, **variables: str) -> Any:
        return run_app(tmp_path, *arguments, **{"LOGNAME": "operator", "DATABASE_URL": database_url, **variables})

    return run


def removed(printed: str) -> dict[str, int]:
    return {name.strip(): int(number) for name, number in re.findall(r"│ ([a-z ]+?) *│ (\d+) *│", printed)}


async def test_a_dry_run_a_round_and_a_pin(pool: Any, command: Command) -> None:
    await grow(pool, "101", 1)
    pinned = command("pins", "add", "101", "4", "--why", "a [complaint]")
    assert (pinned.returncode, pinned.stdout, pinned.stderr) == (0, "version 4 of 101: pinned by operator\n", "")

    dry = command("retention", "--dry-run")
    assert (dry.returncode, dry.stderr) == (0, "")
    assert await versions_of(pool, "101") == list(range(1, VERSIONS + 1))
    assert removed(dry.stdout)["versions"] == START - 2

    done = command("retention")
    assert (done.returncode, done.stderr) == (0, "")
    assert removed(done.stdout) == removed(dry.stdout)
    assert await versions_of(pool, "101") == [4, *range(START, VERSIONS + 1)]
    assert removed(command("retention", RETENTION_DAYS="60").stdout)["versions"] == 3

    listed = command("pins", "list").stdout
    assert re.search(r"│ 101 +│ 4 +│ [-0-9: ]+ +│ yes +│ operator │ a \[complaint\]", listed), listed
    assert command("pins", "list", "102").stdout.endswith("0 pinned\n")
    assert command("pins", "remove", "101", "4").returncode == 0
    assert removed(command("retention").stdout)["versions"] == 1


async def test_what_cannot_be_done_is_told(pool: Any, command: Command) -> None:
    await grow(pool, "101", 1, versions=3)
    for arguments, code, said in (
        (("pins", "add", "101", "4", "--why", "w"), 1, "not pinned: version: must be 1 to 3, got 4\n"),
        (("pins", "add", "102", "1", "--why", "w"), 1, "not pinned: version: 102 has none\n"),
        (("pins", "remove", "101", "2"), 1, "version 2 of 101: was not pinned\n"),
        (("pins", "add", "101", "2"), 2, "Error: --why is needed: it is kept with the pin\n"),
        (("pins", "add", "101"), 2, "Error: add takes a pet and a version\n"),
        (("pins", "list", "101", "2"), 2, "Error: list takes a pet at most\n"),
    ):
        done = command(*arguments)
        assert (done.returncode, done.stdout + done.stderr) == (code, said)
    nowhere = command("retention", DATABASE_URL=f"postgresql://postgres@{HOST}:{free_port()}/none")
    assert nowhere.returncode == 1
    assert re.fullmatch(r"stopped: Postgres at DATABASE_URL=\S+ cannot be reached: \w+: .+\n", nowhere.stderr), (
        nowhere.stderr
    )


async def test_a_round_beside_another_one_does_nothing(pool: Any, command: Command) -> None:
    await grow(pool, "101", 1)
    async with pool.acquire() as other:
        await other.execute("SELECT pg_advisory_lock(7223012)")
        done = command("retention")
    assert (done.returncode, done.stdout) == (1, "another process is trimming; nothing was done\n")
    assert await versions_of(pool, "101") == list(range(1, VERSIONS + 1))
