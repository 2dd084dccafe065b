"""The audit is green where all is well and red on each single thing that is made wrong."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from agents.abort import EXIT_CODE
from schemas.commands import EmbedImages
from schemas.facts import JobContext
from schemas.ids import message_id
from tables.replay import LogReplay
from tests.faults.case import Case, Finding
from tests.faults.checks.http import no_500, posts_without_redis
from tests.faults.checks.jobs import accepted_stand_in_the_topic, commands_are_answered, every_job_ended
from tests.faults.checks.letters import images_are_accounted_for, letters_are_rows, poison_is_buried
from tests.faults.checks.processes import documented_reasons, exits_were_foreseen
from tests.faults.checks.table import table_is_the_log
from tests.faults.ledger import Order, Post
from tests.faults.made_up import Entry, case, fact, message, record
from tests.faults.supervised import Exit

PET = "rex"


def broken(findings: Iterator[Finding]) -> list[str]:
    return [finding.invariant for finding in findings]


def log(jobs: int = 70) -> list[Entry]:
    """More than a segment."""
    return [fact(PET, JobContext(job_id=f"j{n}"), f"image-{n}", f"image-{n}-b") for n in range(jobs)]


def changelog(facts: list[Entry]) -> dict[bytes, bytes]:
    """The table's rows, as a worker that has folded all of it has them."""
    replay = LogReplay(0)
    for offset, (key, value) in enumerate(facts):
        replay.apply(offset, key, value)
    return dict(replay.rows)


def table_case(rows: dict[bytes, bytes]) -> Case:
    return case(log(), changelog=[record(key, row, offset) for offset, (key, row) in enumerate(rows.items())])


def keys(rows: dict[bytes, bytes], kind: str) -> list[bytes]:
    return [key for key in rows if f"/{kind}/".encode() in key]


def test_a_table_that_is_the_log_is_green_whether_superseded_rows_are_there_or_not() -> None:
    rows = changelog(log())
    assert broken(table_is_the_log(table_case(rows))) == []
    assert broken(table_is_the_log(table_case({**rows, b"rex/c/1": b"superseded"}))) == []


@pytest.mark.parametrize("kind", ["i", "d", "c"])
def test_a_single_row_that_is_missing_or_differs_is_seen(kind: str) -> None:
    rows = changelog(log())
    key = keys(rows, kind)[-1]
    less = {name: row for name, row in rows.items() if name != key}
    assert "table_is_log" in broken(table_is_the_log(table_case(less)))
    assert "table_is_log" in broken(table_is_the_log(table_case({**rows, key: rows[key][:-1] + b"\x7f"})))


def test_image_rows_are_looked_at_although_no_head_needs_them() -> None:
    """What the heads alone do not tell: with all of them gone, the state reads back the same."""
    rows = changelog(log())
    bare = table_case({name: row for name, row in rows.items() if name not in keys(rows, "i")})
    found = list(table_is_the_log(bare))
    assert len(found) == len(keys(rows, "i")) > 60
    assert all("/i/" in finding.text for finding in found)


def test_a_row_that_the_log_does_not_make_is_seen() -> None:
    rows = changelog(log())
    foreign = {**rows, b"rex/i/999": rows[keys(rows, "i")[0]]}
    assert broken(table_is_the_log(table_case(foreign))) == ["table_is_log"]


def command(job: str, *images: str, **more: Any) -> EmbedImages:
    return EmbedImages(pet_id=PET, job_id=job, image_ids=images, **more)


def commands(*wanted: EmbedImages) -> list[Any]:
    return [message(PET, each, offset, each.id) for offset, each in enumerate(wanted)]


def test_a_command_without_a_fact_is_seen_once_later_ones_have_theirs() -> None:
    asked = commands(command("j", "a"), command("k", "b"))
    only_first, only_last = fact(PET, JobContext(job_id="j"), "a"), fact(PET, JobContext(job_id="k"), "b")
    assert broken(commands_are_answered(case([only_first], commands=asked))) == []
    assert broken(commands_are_answered(case([only_last], commands=asked))) == ["every_command_is_answered"]
    assert broken(commands_are_answered(case([only_first, only_last], commands=asked))) == []


def test_a_fact_that_leaves_images_pending_needs_its_retry() -> None:
    first, retry = command("j", "a", "b"), command("j", "b", attempt=2)
    tried = fact(PET, JobContext(job_id="j"), "a", pending=("b",))
    assert broken(commands_are_answered(case([tried], commands=commands(first)))) == ["every_retry_follows"]
    assert broken(commands_are_answered(case([tried], commands=commands(first), retries=commands(retry)))) == []
    mended = fact(PET, JobContext(job_id="j"), "b", known=("a",))
    assert broken(commands_are_answered(case([tried, mended], commands=commands(first)))) == []


def test_a_job_of_which_one_part_is_not_in_the_topic_is_seen() -> None:
    parts = commands(command("j", "a", parts=2), command("j", "b", part=2, parts=2))
    for asked, found in ((parts, []), (parts[:1], ["accepted_is_in_the_topic"])):
        made = case(commands=asked)
        made.ledger.accept(Order(PET, "j", ("a", "b")), "http")
        assert broken(accepted_stand_in_the_topic(made)) == found


def image_letter(ce_id: str, image_id: str = "missing-1", run: int = 1) -> Any:
    letter = {"subject": "image", "kind": "not_found", "reason": "404", "pet_id": PET, "job_id": "j", "run": run}
    return message(PET, {**letter, "image_id": image_id}, ce_id=ce_id)


def test_two_letters_about_one_image_are_seen_and_a_repeat_of_one_is_none() -> None:
    for ids, found in (
        (("x", "x"), []),
        (("x", "y"), ["missing_is_dead_lettered"]),
        ((), ["missing_is_dead_lettered"]),
    ):
        made = case(letters=[image_letter(ce_id) for ce_id in ids])
        made.ledger.accept(Order(PET, "j", ("missing-1",)), "redis")
        assert broken(images_are_accounted_for(made)) == found


def requeue(*letters: str) -> Any:
    again = command("j", "missing-1", run=2, requeue="r1")
    action = {"kind": "requeue", "letters": letters, "who": "w", "why": "y", "at": "t", "pet_id": PET, "job_id": "j"}
    value = {**action, "command": json.loads(message(PET, again).value)}
    return message(PET, value, ce_id=message_id("deadletter-action", "requeue", *letters))


def test_a_requeued_image_has_a_letter_of_its_next_run() -> None:
    for letters, found in (
        ([image_letter("x"), image_letter("y", run=2)], []),
        ([image_letter("x")], ["missing_is_dead_lettered"]),
    ):
        made = case(letters=letters, actions=[requeue("x")])
        made.ledger.accept(Order(PET, "j", ("missing-1",)), "redis")
        assert broken(images_are_accounted_for(made)) == found


def ended(run: int, status: str = "failed") -> Any:
    return message(PET, {"pet_id": PET, "job_id": "j", "run": run, "status": status})


def test_a_requeued_job_ends_twice_and_postgres_has_the_last() -> None:
    dead = [
        message(PET, {"subject": "job", "pet_id": PET, "job_id": "j", "run": run}, ce_id=str(run)) for run in (1, 2)
    ]
    for statuses, row, found in (
        ([ended(1), ended(2)], {"state": "failed", "run": 2}, []),
        ([ended(1)], {"state": "failed", "run": 1}, ["every_job_ends", "one_outcome", "failed_is_dead_lettered"]),
        ([ended(1), ended(2)], {"state": "processing", "run": 2}, ["every_job_ends"]),
        ([ended(1), ended(1, "succeeded"), ended(2)], {"state": "failed", "run": 2}, ["one_outcome"]),
    ):
        made = case(statuses=statuses, letters=dead, actions=[requeue("x")], job_rows={(PET, "j"): row})
        made.ledger.accept(Order(PET, "j", ("missing-1",)), "redis")
        assert broken(every_job_ended(made)) == found


def test_postgres_must_know_every_letter_and_what_became_of_it() -> None:
    for rows, found in (
        ({"x": "requeued", "y": "open"}, []),
        ({"x": "open", "y": "open"}, ["letters_in_postgres"]),
        ({"x": "requeued"}, ["letters_in_postgres"]),
    ):
        made = case(letters=[image_letter("x"), image_letter("y")], actions=[requeue("x")], letter_rows=rows)
        assert broken(letters_are_rows(made)) == found


def entry_letter(entry_id: str, payload: bytes, kind: str = "invalid") -> Any:
    letter = {"subject": "entry", "kind": kind, "reason": "no job", "pet_id": "", "job_id": ""}
    source = {"source_id": f"jobs/{entry_id}", "payload": base64.b64encode(payload).decode()}
    return message("", {**letter, **source}, ce_id=entry_id)


def test_an_entry_that_is_buried_and_is_none_of_the_poison_is_seen() -> None:
    poison, good = entry_letter("1-0", b"null"), entry_letter("2-0", b"{}", kind="unexpected")
    made = case(letters=[poison, good])
    made.ledger.poison["1-0"] = {b"payload": b"null"}
    assert broken(poison_is_buried(made)) == ["nothing_else_is_dead_lettered"]
    made.evidence.letters = [poison, entry_letter("2-0", b"null")]
    assert broken(poison_is_buried(made)) == ["nothing_else_is_dead_lettered"]
    made.ledger.doubtful.append({b"payload": b"null"})
    assert broken(poison_is_buried(made)) == [], "its XADD was not answered and was sent again"
    made.evidence.letters.append(entry_letter("3-0", b"null"))
    assert broken(poison_is_buried(made)) == ["nothing_else_is_dead_lettered"]


def test_poison_must_be_buried_once_with_its_bytes_as_invalid() -> None:
    for letters, found in (
        ([entry_letter("1-0", b'{"other":"x"}')], []),
        ([entry_letter("1-0", b"{}")], ["poison_is_buried"]),
        ([entry_letter("1-0", b'{"other":"x"}', kind="unexpected")], ["poison_is_buried"]),
        ([], ["poison_is_buried"]),
    ):
        made = case(letters=letters)
        made.ledger.poison["1-0"] = {b"other": b"x"}
        assert broken(poison_is_buried(made)) == found


def test_a_minute_needs_a_post_while_only_redis_was_away() -> None:
    made = case(seconds=60.0)
    made.struck = {"redis_stop": 1}
    assert broken(posts_without_redis(made)) == ["post_without_redis"]
    made.outages.spans["redis_stop"] = [(10.0, 15.0)]
    made.ledger.posts = [Post(11.0, 12.0, 202)]
    assert broken(posts_without_redis(made)) == []
    made.outages.spans["kafka"] = [(0.0, 11.5)]
    assert broken(posts_without_redis(made)) == ["post_without_redis"]
    made.ledger.posts.append(Post(13.0, 14.0, 503))
    assert broken(posts_without_redis(made)) == ["post_without_redis"]


def test_an_answer_of_500_is_seen_and_503_is_none() -> None:
    made = case()
    made.ledger.note_answer("POST /x", 503, "later")
    assert broken(no_500(made)) == []
    made.ledger.note_answer("POST /x", 500, "Internal Server Error")
    assert broken(no_500(made)) == ["no_500"]


def exited(code: int, asked: str = "", said: str = "", name: str = "fold") -> Exit:
    return Exit(name, code, at=100.0, lived=20.0, asked=asked, said=said)


def abort(reason: str) -> str:
    return json.dumps({"level": "critical", "logger": "agents.abort", "message": "aborted", "reason": reason}) + "\n"


@pytest.mark.parametrize(
    ("exit_", "good"),
    [
        (exited(-9, "kill"), True),
        (exited(-9), False),
        (exited(-9, "the end"), False),
        (exited(0, "term"), True),
        (exited(0), False),
        (exited(1), False),
        (exited(1, "kill"), False),
        (exited(-11), False),
        (exited(EXIT_CODE, said="noise\n" + abort("producer lease ran out: no heartbeat answered for 7 s")), True),
        (exited(EXIT_CODE, said=abort("the moon is full")), False),
        (exited(EXIT_CODE), False),
        (exited(EXIT_CODE, said=abort("fold of offset 7 failed: KeyError('x')")), False),
    ],
)
def test_only_foreseen_exits_are_green(exit_: Exit, good: bool) -> None:
    made = case()
    made.exits = [exit_]
    assert broken(exits_were_foreseen(made)) == ([] if good else ["no_unforeseen_exit"])


@pytest.mark.parametrize("away", ["kafka", "disk_full_fold"])
@pytest.mark.parametrize("exit_", [exited(1), exited(EXIT_CODE, said=abort("fold of offset 7 failed: OSError()"))])
def test_an_error_exit_is_foreseen_where_kafka_or_the_disk_was_away_in_its_life(exit_: Exit, away: str) -> None:
    for span, found in (((70.0, 85.0), []), ((60.0, 79.0), ["no_unforeseen_exit"])):
        made = case()
        made.exits = [exit_]
        made.outages.spans[away] = [span]
        assert broken(exits_were_foreseen(made)) == found


def test_the_handbook_has_the_reasons_that_processes_give() -> None:
    assert {"producer lease ran out", "stuck commit", "embedding of … failed"} <= set(documented_reasons())
