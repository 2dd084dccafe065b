"""Dead letters and actions as rows: each once, settled whichever came first, and found by every filter."""

from __future__ import annotations

import asyncio
import itertools
import random
import uuid
from typing import Any

import msgspec
import pytest

from projections.dead_letter_reader import MAX_PAGE, DeadLetterRow, LetterFilter, LetterReader, with_payload
from projections.dead_letters import (
    RecordedAction,
    RecordedLetter,
    count_open,
    decode_letter,
    decode_letter_action,
    letter_id,
    record_actions,
    record_letters,
)
from schemas.dead_letters import DeadLetterAction
from schemas.errors import DeadLetter, InvalidInput
from tests.integration.projections.letters import action_on, letter, letter_uuid, record_of, write
from tests.integration.projections.samples import eventually
from tests.integration.projections.test_jobs import at, queued, record

ANY = LetterFilter(state="all")


async def page(pool: Any, letters: LetterFilter = ANY, limit: int = 100) -> list[DeadLetterRow]:
    async with LetterReader(pool).snapshot() as view:
        return (await view.page(letters, limit))[0]


async def state_of(pool: Any, name: str) -> tuple[str, str, str | None]:
    async with LetterReader(pool).snapshot() as view:
        row = await view.letter(letter_uuid(name))
        assert row is not None
        return row.state, row.who, row.action_id


# ---- writing


async def test_a_letter_is_kept_whole(pool: Any) -> None:
    assert await write(pool, letter("a", run=3, reason="no\x00thing")) == {"image": 1}
    (row,) = await page(pool)
    expected = record_of("a")
    assert row == DeadLetterRow(
        id=str(letter_uuid("a")), subject="image", kind="not_found", reason="no\N{REPLACEMENT CHARACTER}thing",
        attempts=5, run=3, source_id="media.jobs/0/a", failed_at=at(0), pet_id="101", job_id="job_1", image_id="a",
        payload_bytes=len(expected.payload), state="open", acted_at=None, who="", why="", action_id=None,
    )  # fmt: skip
    async with LetterReader(pool).snapshot() as view:
        assert await view.payload(row.id) == expected.payload


async def test_a_repeat_changes_nothing_and_is_not_counted(pool: Any) -> None:
    await write(pool, letter("a"))
    assert await write(pool, letter("a", reason="another"), letter("b", subject="job")) == {"job": 1}
    assert {row.reason for row in await page(pool)} == {"404 for a", "404 for b"}


async def test_one_batch_may_hold_a_letter_twice(pool: Any) -> None:
    async with pool.acquire() as connection, connection.transaction():
        twice = [RecordedLetter(letter_uuid("a"), record_of("a"), 0, offset) for offset in (1, 2)]
        assert await record_letters(connection, twice) == {"image": 1}


MESSAGES: list[Any] = [
    letter("a"),
    letter("b"),
    letter("c"),
    action_on("discard", "a", "b", seconds=1, who="bob"),
    action_on("requeue", "b", "unknown", seconds=5, who="cy"),
    action_on("requeue", "b", "a", seconds=4, who="dee"),
    action_on("discard", "b", seconds=2, who="eve"),
]


async def test_letters_are_settled_alike_in_whatever_order_they_and_their_actions_come(pool: Any) -> None:
    """A requeue stands over a discard, and of two the earlier one."""
    seen = []
    for trial in range(20):
        await pool.execute("TRUNCATE dead_letters, dead_letter_actions")
        messages = list(MESSAGES)
        if trial:
            shuffler = random.Random(trial)
            messages += shuffler.choices(MESSAGES, k=3)
            shuffler.shuffle(messages)
        await write(pool, *messages)
        seen.append([(row.id, row.state, row.who, row.acted_at, row.action_id) for row in await page(pool)])
        assert await pool.fetchval("SELECT count(*) FROM dead_letter_actions") == 4
    assert seen == [seen[0]] * len(seen)
    assert (await state_of(pool, "a"))[:2] == ("requeued", "dee")
    assert (await state_of(pool, "b"))[:2] == ("requeued", "dee")
    assert (await state_of(pool, "c")) == ("open", "", None)


@pytest.mark.parametrize("first", ["letter", "action"])
async def test_a_letter_and_its_action_written_at_the_same_time_meet(pool: Any, first: str) -> None:
    """Two writers whose transactions overlap, which do not see each other's rows."""
    action = action_on("requeue", "a")
    waiting = False

    async def write_letter(connection: Any) -> None:
        await record_letters(connection, [RecordedLetter(letter_uuid("a"), record_of("a"), 0, 1)])

    async def write_action(connection: Any) -> None:
        await record_actions(connection, [RecordedAction(action, b"{}", 0, 1)])

    one, other = (write_letter, write_action) if first == "letter" else (write_action, write_letter)

    async def second() -> None:
        async with pool.acquire() as connection, connection.transaction():
            await other(connection)

    async def blocked() -> bool:
        return bool(await pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    async with pool.acquire() as connection, connection.transaction():
        await one(connection)
        task = asyncio.create_task(second())
        await eventually(blocked)
        waiting = not task.done()
    await task
    assert waiting
    assert await state_of(pool, "a") == ("requeued", "ann", action.id)


async def test_open_letters_are_counted(pool: Any) -> None:
    await write(pool, *(letter(str(number)) for number in range(5)), action_on("discard", "1", "2"))
    assert await count_open(pool) == 3


# ---- decoding


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"failed_at": "yesterday"}, "failed_at"), ({"attempts": -1}, "attempts"), ({"run": 2**31}, "run")],
)
def test_a_letter_that_no_row_holds_is_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput, match=field):
        decode_letter(msgspec.json.encode(record_of("a", **fields)))


@pytest.mark.parametrize("value", [b"", b"{", b"null", b"[]", b"\xff", b'{"subject":"pet"}', b"[" * 100_000])
def test_what_is_no_letter_and_no_action_is_refused(value: bytes) -> None:
    for decode in (decode_letter, decode_letter_action):
        with pytest.raises(DeadLetter):
            decode(value)


def test_an_action_on_what_has_no_letters_id_is_refused() -> None:
    action = DeadLetterAction(kind="discard", letters=("a",), who="w", why="y", at=at(0))
    with pytest.raises(InvalidInput, match="letters"):
        decode_letter_action(msgspec.json.encode(action))


def test_a_letter_without_an_id_gets_one_of_where_it_stands() -> None:
    given = uuid.uuid4()
    assert letter_id(str(given), "t", 0, 1) == given
    others = {letter_id(ce_id, "t", 0, offset) for ce_id, offset in itertools.product(("", "x"), (1, 2))}
    assert len(others) == 2


# ---- reading


async def test_every_filter_takes_its_letters(pool: Any) -> None:
    await write(
        pool,
        letter("a", 1),
        letter("b", 2, kind="too_large"),
        letter("c", 3, subject="job", kind="no_image_usable", job_id="job_2"),
        letter("d", 4, pet_id="102"),
        letter("e", 5, subject="entry", kind="invalid", pet_id="", job_id=""),
        action_on("discard", "d"),
        action_on("requeue", "b"),
    )
    expected = {
        "edcba": {"state": "all"},
        "eca": {},
        "d": {"state": "discarded"},
        "b": {"state": "requeued"},
        "c": {"subject": "job"},
        "a": {"kind": "not_found"},
        "ca": {"pet_id": "101"},
        "e": {"pet_id": ""},
        "ba": {"state": "all", "job_id": "job_1", "pet_id": "101"},
        "ec": {"since": at(3)},
        "ba ": {"state": "all", "until": at(3)},
        "cb": {"state": "all", "since": at(2), "until": at(4)},
        "": {"kind": "no such kind"},
    }
    names = {str(letter_uuid(name)): name for name in "abcde"}
    for found, fields in expected.items():
        letters = LetterFilter(**fields)  # type: ignore[arg-type]
        assert "".join(names[row.id] for row in await page(pool, letters)) == found.strip(), fields
        async with LetterReader(pool).snapshot() as view:
            assert await view.count(letters) == len(found.strip())
            selected = [row async for run in view.selected(letters) for row in run]
            assert sorted(names[row.id] for row in selected) == sorted(found.strip())


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"since": "x"}, "since"),
        ({"until": "9" * 30}, "until"),
        ({"kind": "a\x00"}, "kind"),
        ({"pet_id": "\udc80"}, "pet_id"),
    ],
)
async def test_a_filter_that_no_statement_takes_is_refused_by_name(
    pool: Any, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput, match=field):
        await page(pool, LetterFilter(**fields))


async def test_letters_are_paged_newest_first(pool: Any) -> None:
    # Pairs that share a moment: the cursor must neither skip nor repeat one of them.
    await write(pool, *(letter(str(number), number // 2) for number in range(9)))
    everything = await page(pool)
    assert [row.failed_at for row in everything] == [at(second) for second in (4, 3, 3, 2, 2, 1, 1, 0, 0)]
    async with LetterReader(pool).snapshot() as view:
        rows, cursor = await view.page(ANY, 2)
        paged = list(rows)
        while cursor:
            rows, cursor = await view.page(ANY, 2, cursor)
            paged += rows
        assert paged == everything
        assert (await view.page(ANY, 9))[1] is None
        for limit in (0, MAX_PAGE + 1):
            with pytest.raises(InvalidInput, match="limit"):
                await view.page(ANY, limit)


async def test_selected_letters_come_in_lists_of_one_run_of_a_job(pool: Any) -> None:
    await write(
        pool,
        *(letter(f"{pet}-{job}-{run}-{n}", pet_id=pet, job_id=job, run=run)
          for n in range(3) for pet in ("1", "2") for job in ("a", "b") for run in (1, 2)),
        *(letter(f"loose-{n}", pet_id="", job_id="", subject="entry") for n in range(130)),
    )  # fmt: skip
    async with LetterReader(pool).snapshot() as view:
        lists = [run async for run in view.selected(ANY)]
    assert [len(each) for each in lists] == [64, 64, 2, *(3 for _ in range(8))]
    assert all(len({(row.pet_id, row.job_id, row.run) for row in each}) == 1 for each in lists)


async def test_a_runs_open_images_and_first_commands_are_found(pool: Any) -> None:
    await write(
        pool,
        letter("a"), letter("b"), letter("c", run=2), letter("d", job_id="job_2"), letter("j", subject="job"),
        action_on("discard", "b"),
    )  # fmt: skip
    await record(pool, queued(part=2), queued(attempt=2), queued(), queued(run=2, requeue="x"), queued(job_id="job_2"))
    async with LetterReader(pool).snapshot() as view:
        job = await view.letter(letter_uuid("j"))
        assert job is not None
        assert [row.image_id for row in await view.open_images(job)] == ["a"]
        commands = [msgspec.json.decode(each) for each in await view.first_commands(job)]
        assert [(each["part"], each["attempt"], each["run"]) for each in commands] == [(1, 1, 1), (2, 1, 1)]


async def test_a_snapshot_does_not_see_what_is_written_meanwhile(pool: Any) -> None:
    async with LetterReader(pool).snapshot() as view:
        assert await view.count(ANY) == 0
        await write(pool, letter("a"))
        assert await view.count(ANY) == 0
        assert [run async for run in view.selected(ANY)] == []


@pytest.mark.parametrize(
    ("payload", "shown", "encoding"),
    [
        (b'{"a":"\xc3\xa4"}', '{"a":"ä"}', "text"),
        (b"", "", "base64"),
        (b"\xff\x00", "/wA=", "base64"),
        (b"{", "ew==", "base64"),
    ],
)
def test_a_payload_is_shown_as_text_when_it_is_json(payload: bytes, shown: str, encoding: str) -> None:
    row = DeadLetterRow(
        id="i", subject="image", kind="k", reason="r", attempts=1, run=1, source_id="s", failed_at=at(0), pet_id="p",
        job_id="j", image_id="i", payload_bytes=len(payload), state="open", acted_at=None, who="", why="",
        action_id=None,
    )  # fmt: skip
    detail = with_payload(row, payload)
    assert (detail.payload, detail.payload_encoding) == (shown, encoding)
