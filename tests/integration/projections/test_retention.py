"""Retention: what stays answers as before, what goes is gone whole, and nobody waits for it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final

import pytest

from projections import postgres
from projections.answers import read_at
from projections.batches import BatchWriter, Decoded
from projections.pins import add_pin, list_pins, remove_pin
from projections.postgres import Applied, apply_version
from projections.queries import load
from projections.reader import ClusterReader
from projections.retention import Retention, RetentionMetrics
from projections.telemetry import ProjectorMetrics
from projections.trimming import PETS, Trimmed, Trimmer
from schemas.answers import encode_answer
from schemas.errors import InvalidInput
from schemas.versions import PetVersion
from tests.integration.projections.letters import action_on, letter, letter_uuid, write
from tests.integration.projections.rig import Counted
from tests.integration.projections.samples import Album, eventually

ROOT: Final = Path(__file__).parents[3]
DAYS: Final = 90
VERSIONS: Final = 30
START: Final = 21
"""With ten days between versions, the last written today: 22 is 80 days old, 21 held 90 days ago."""
ROW_TABLES: Final = ("cluster_members", "cluster_heroes", "cluster_summaries")
AGE: Final = (
    "UPDATE pet_clusters SET created_at = now() - make_interval(days => 10 * ($2 - version::int)) WHERE pet_id = $1"
)


@pytest.fixture(autouse=True)
def frequent_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "SNAPSHOT_EVERY", 4)


def retention(pool: Any, **more: Any) -> Retention:
    return Retention(**{"pool": pool, "days": DAYS, "batch_rows": 7, "pause_s": 0.0} | more)


async def trimmed(pool: Any, **more: Any) -> Trimmed:
    """A round of its own."""
    done = await retention(pool).trim(**more)
    assert done is not None, "nobody else trims"
    return done


async def apply(pool: Any, version: PetVersion) -> Any:
    async with pool.acquire() as connection, connection.transaction():
        return await apply_version(connection, version)


async def grow(pool: Any, pet_id: str, seed: int, versions: int = VERSIONS, newest_days: int = 0) -> Album:
    """A pet whose versions were written ten days apart, the last one `newest_days` ago."""
    album = Album(pet_id, seed=seed)
    for _ in range(versions):
        assert isinstance(await apply(pool, album.draw()), Applied)
    await pool.execute(AGE, pet_id, versions + newest_days // 10)
    return album


async def answers(pool: Any, pet_id: str, last: int = VERSIONS) -> dict[int, bytes]:
    """Every version that is there, as the bytes that callers get."""
    found = {number: await read_at(pool, pet_id, number) for number in range(1, last + 1)}
    return {number: encode_answer(answer) for number, answer in found.items() if answer is not None}


async def versions_of(pool: Any, pet_id: str) -> list[int]:
    rows = await pool.fetch("SELECT version FROM pet_clusters WHERE pet_id = $1 ORDER BY version", pet_id)
    return [row[0] for row in rows]


async def needless_rows(pool: Any, pet_id: str) -> list[Any]:
    """Rows that held at none of the versions that are there."""
    return [
        (table, *row)
        for table in ROW_TABLES
        for row in await pool.fetch(
            f"SELECT since_version, until_version FROM {table} AS r WHERE pet_id = $1 AND NOT EXISTS ("
            " SELECT FROM pet_clusters AS v WHERE v.pet_id = r.pet_id AND v.version >= since_version"
            " AND coalesce(v.version < until_version, true))",
            pet_id,
        )
    ]


@pytest.mark.parametrize("seed", range(6))
async def test_what_stays_answers_the_same_bytes_and_what_goes_is_gone_whole(pool: Any, seed: int) -> None:
    await grow(pool, "101", seed)
    await add_pin(pool, "101", 3, who="ops", why="a complaint")
    await add_pin(pool, "101", 11, who="ops", why="a complaint")
    before = await answers(pool, "101")
    latest = await ClusterReader(pool).latest_answer("101")

    done = await trimmed(pool)

    kept = [3, 11, *range(START, VERSIONS + 1)]
    assert await answers(pool, "101") == {number: before[number] for number in kept}
    assert await ClusterReader(pool).latest_answer("101") == latest
    assert done.removed["versions"] == VERSIONS - len(kept)
    assert await needless_rows(pool, "101") == []
    snapshots = await pool.fetch("SELECT version FROM cluster_snapshots ORDER BY version")
    assert [row[0] for row in snapshots] == [24, 28]


@pytest.mark.parametrize(("versions", "newest_days"), [(1, 500), (12, 500), (12, 90), (12, 100)])
async def test_the_latest_version_stays_whatever_its_age(pool: Any, versions: int, newest_days: int) -> None:
    await grow(pool, "101", 1, versions, newest_days)
    before = await answers(pool, "101", versions)
    await retention(pool).trim()
    assert await answers(pool, "101", versions) == {versions: before[versions]}
    assert await needless_rows(pool, "101") == []


async def test_young_pets_keep_everything_and_every_pet_has_its_turn(pool: Any) -> None:
    await grow(pool, "young", 1, versions=5)
    for number in range(PETS + 5):
        await pool.execute(
            "INSERT INTO pet_clusters SELECT gen_random_uuid(), $1, version, 0, 0, 0, '{}', '', '', '', 24, 0, 0,"
            " now(), now() - interval '200 days' FROM generate_series(1, 3) AS version",
            f"old-{number:04d}",
        )
    done = await trimmed(pool)
    assert (done.pets, done.removed["versions"]) == (PETS + 6, 2 * (PETS + 5))
    assert await versions_of(pool, "young") == [1, 2, 3, 4, 5]
    assert (
        await pool.fetchval("SELECT count(*) FROM pet_clusters WHERE pet_id LIKE 'old-%' AND version = 3") == PETS + 5
    )


async def test_a_second_round_finds_nothing_and_a_pin_that_is_taken_back_frees_its_rows(pool: Any) -> None:
    await grow(pool, "101", 2)
    pin = await add_pin(pool, "101", 8, who="ops", why="a complaint")
    assert (pin.version, pin.who, pin.why, pin.present) == (8, "ops", "a complaint", True)
    await retention(pool).trim()
    again = await trimmed(pool)
    assert not any(again.removed.values())

    assert await remove_pin(pool, "101", 8)
    assert not await remove_pin(pool, "101", 8)
    last = await trimmed(pool)
    assert last.removed["versions"] == 1
    assert await versions_of(pool, "101") == list(range(START, VERSIONS + 1))
    assert await needless_rows(pool, "101") == []


async def test_pins_are_checked_listed_and_may_name_a_trimmed_version(pool: Any) -> None:
    await grow(pool, "101", 2)
    await retention(pool).trim()
    assert not (await add_pin(pool, "101", 5, who="ops", why="to be rebuilt")).present
    await add_pin(pool, "101", 25, who="ops", why="first")
    assert (await add_pin(pool, "101", 25, who="other", why="second")).why == "first"
    assert [(pin.version, pin.present) for pin in await list_pins(pool)] == [(5, False), (25, True)]
    assert await list_pins(pool, "102") == []
    for pet_id, number, why, field in (
        ("101", VERSIONS + 1, "why", "version"),
        ("101", 0, "why", "version"),
        ("102", 1, "why", "version"),
        ("1/2", 1, "why", "pet_id"),
        ("101", 1, " ", "why"),
    ):
        with pytest.raises(InvalidInput) as error:
            await add_pin(pool, pet_id, number, who="ops", why=why)
        assert error.value.field == field


async def test_nobody_waits_for_a_writer_in_mid_transaction_nor_a_writer_for_retention(pool: Any) -> None:
    album = await grow(pool, "101", 3)
    before = await answers(pool, "101")
    async with pool.acquire() as writer, writer.transaction():
        # Both ways: whoever would wait for the other fails at once.
        await writer.execute("SET LOCAL lock_timeout = '1ms'")
        assert isinstance(await apply_version(writer, album.draw()), Applied)
        async with asyncio.timeout(60):
            done = await trimmed(pool)
        assert done.removed["versions"] == START - 1
        async with pool.acquire() as trimmer, trimmer.transaction():
            await trimmer.execute(load("share_pins"))
            for table in ("versions", "members", "summaries", "heroes"):
                await trimmer.execute(load(f"trim_{table}"), ["101"], [START + 3], 500)
            assert isinstance(await apply_version(writer, album.draw()), Applied)
    assert await versions_of(pool, "101") == list(range(START + 3, VERSIONS + 3))
    kept = await answers(pool, "101")
    assert kept == {number: before[number] for number in range(START + 3, VERSIONS + 1)}


async def test_a_pin_waits_for_the_batch_and_the_next_batch_sees_it(pool: Any) -> None:
    await grow(pool, "101", 4)
    async with pool.acquire() as trimmer:
        batch = trimmer.transaction()
        await batch.start()
        await trimmer.execute(load("share_pins"))
        waiting = asyncio.create_task(add_pin(pool, "101", 6, who="ops", why="just in time"))
        await eventually(
            lambda: pool.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        )
        await batch.commit()
        assert (await waiting).present
    before = await answers(pool, "101")
    await retention(pool).trim()
    assert (await answers(pool, "101"))[6] == before[6]


class _Killed(Exception):
    pass


async def test_a_round_that_ends_behind_any_batch_leaves_what_stays_whole(pool: Any) -> None:
    album = await grow(pool, "101", 5)
    await add_pin(pool, "101", 9, who="ops", why="a complaint")
    before = await answers(pool, "101")
    kept = {number: before[number] for number in (9, *range(START, VERSIONS + 1))}
    rounds = 0
    while True:
        batches = 0

        def count(table: str, rows: int) -> None:
            nonlocal batches
            batches += 1
            if batches == 2:
                raise _Killed

        try:
            async with pool.acquire() as connection:
                await Trimmer(days=DAYS, rows=4, pause_s=0, on_removed=count).trim(connection)
            break
        except _Killed:
            rounds += 1
        now = await answers(pool, "101")
        assert {number: now[number] for number in kept} == kept
        # A version that is still there although it is to go has all its rows.
        assert now == {number: before[number] for number in now}
    assert rounds > 5
    assert await answers(pool, "101") == kept
    assert await needless_rows(pool, "101") == []
    assert await apply(pool, album.draw()) == Applied(VERSIONS + 1)


async def test_a_killed_process_gives_the_turn_back_and_the_next_round_ends_its_work(
    pool: Any, database_url: str
) -> None:
    await grow(pool, "101", 6)
    before = await answers(pool, "101")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.projections.run_retention",
        database_url,
        str(DAYS),
        "3",
        "60",
        cwd=ROOT,
    )
    try:
        await eventually(lambda: _fewer_than(pool, VERSIONS))
        assert await retention(pool).trim() is None, "one at a time"
    finally:
        process.kill()
        await process.wait()
    left = await answers(pool, "101")
    assert len(left) == VERSIONS - 3
    assert left == {number: before[number] for number in left}

    async def ended() -> Trimmed | None:
        return await retention(pool).trim()

    done = await eventually(ended)
    assert done.removed["versions"] == START - 1 - 3
    assert await answers(pool, "101") == {number: before[number] for number in range(START, VERSIONS + 1)}


async def _fewer_than(pool: Any, number: int) -> bool:
    return bool(await pool.fetchval("SELECT count(*) FROM pet_clusters") < number)


async def test_the_projector_goes_on_and_no_gap_brings_trimmed_versions_back(pool: Any) -> None:
    album = await grow(pool, "101", 7)
    whole = Album("101", seed=7)
    log = [whole.draw() for _ in range(VERSIONS + 3)]
    await retention(pool).trim()
    assert await apply(pool, album.draw()) == Applied(VERSIONS + 1)
    asked = []

    async def replay(pet_id: str, partition: int, after_version: int) -> AsyncGenerator[PetVersion, None]:
        asked.append(after_version)
        for version in log:  # a log gives all it has, whatever was asked for
            yield version

    record: Any = None
    async with pool.acquire() as connection, connection.transaction():
        writer = BatchWriter(replay=replay, metrics=ProjectorMetrics())
        await writer.write(connection, [Decoded(record, log[VERSIONS + 2]), Decoded(record, log[2])])
    assert asked == [VERSIONS + 1]
    assert await versions_of(pool, "101") == list(range(START, VERSIONS + 4))
    assert await needless_rows(pool, "101") == []


async def test_a_dry_round_says_what_a_round_removes_and_removes_nothing(pool: Any) -> None:
    for pet_id in ("101", "102"):
        await grow(pool, pet_id, 8)
    await write(pool, letter("old"), action_on("discard", "old"))
    await pool.execute("UPDATE dead_letters SET acted_at = now() - interval '91 days'")
    await pool.execute("UPDATE dead_letter_actions SET at = now() - interval '91 days'")
    before = await answers(pool, "101"), await answers(pool, "102")
    dry = await trimmed(pool, dry=True)
    assert (await answers(pool, "101"), await answers(pool, "102")) == before
    assert await pool.fetchval("SELECT count(*) FROM dead_letters") == 1
    assert await trimmed(pool) == dry
    assert all(dry.removed.values())


async def test_settled_letters_go_and_actions_only_behind_their_letters(pool: Any) -> None:
    names = ("open", "old", "young", "both")
    await write(pool, *map(letter, names))
    await write(pool, action_on("discard", "old"), action_on("discard", "young"), action_on("discard", "both"))
    await pool.execute("UPDATE dead_letters SET failed_at = now() - interval '400 days'")
    await pool.execute("UPDATE dead_letter_actions SET at = now() - interval '91 days'")
    old = [letter_uuid(name) for name in ("old", "both")]
    await pool.execute("UPDATE dead_letters SET acted_at = now() - interval '91 days' WHERE id = ANY ($1)", old)

    done = await trimmed(pool)

    assert (done.removed["dead_letters"], done.removed["dead_letter_actions"]) == (2, 2)
    rows = await pool.fetch("SELECT id, state FROM dead_letters")
    assert {row["id"]: row["state"] for row in rows} == {
        letter_uuid("open"): "open",
        letter_uuid("young"): "discarded",
    }
    (action,) = await pool.fetch("SELECT letters FROM dead_letter_actions")
    assert action["letters"] == [letter_uuid("young")]


async def test_rounds_go_on_until_the_end_and_are_measured(pool: Any) -> None:
    await grow(pool, "101", 9)
    counts: dict[str, Counted] = {}
    seconds, oldest, finished = _Last(), _Last(), _Last()
    running = retention(
        pool,
        interval_s=0.01,
        metrics=RetentionMetrics(
            removed=lambda table: counts.setdefault(table, Counted()), seconds=seconds, oldest=oldest, finished=finished
        ),
    )
    await running.start()
    try:
        await eventually(lambda: _is(seconds.seen >= 2))
        assert running.waits_for == ""
    finally:
        await running.stop()
    assert counts["versions"].value == START - 1
    written = await pool.fetchval("SELECT created_at FROM pet_clusters WHERE version = $1", START)
    assert oldest.value == pytest.approx(written.timestamp())
    assert finished.value > oldest.value


class _Last:
    """A gauge or histogram that can be read."""

    value = 0.0
    seen = 0

    def set(self, value: float) -> None:
        self.value = value

    def observe(self, amount: float) -> None:
        self.seen += 1


async def _is(truth: bool) -> bool:
    return truth
