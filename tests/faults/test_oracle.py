"""The second oracle: what it says of small logs, and that it needs nothing of the fold."""

from __future__ import annotations

import ast
from pathlib import Path

from schemas.facts import JobContext
from tests.faults import oracle
from tests.faults.made_up import Entry, fact
from tests.faults.oracle import second_opinion


def counts(log: list[Entry], pet: str, job: str) -> tuple[str, int, int, int]:
    opinion = second_opinion(log)[pet].jobs[job]
    return opinion.status, opinion.placed, opinion.known, opinion.failed


def test_a_repeated_fact_counts_once() -> None:
    log = [fact("rex", JobContext(job_id="j"), "a", "b")] * 5
    assert counts(log, "rex", "j") == ("succeeded", 2, 0, 0)
    assert second_opinion(log)["rex"].images == {"a", "b"}
    assert second_opinion(log)["rex"].repeats == 4


def test_an_image_belongs_to_the_first_job_that_brings_it() -> None:
    log = [fact("rex", JobContext(job_id="j"), "a"), fact("rex", JobContext(job_id="k"), "a", "b")]
    assert counts(log, "rex", "k") == ("succeeded", 1, 1, 0)


def test_a_job_ends_with_the_last_of_its_commands() -> None:
    first = fact("rex", JobContext(job_id="j", part=1, parts=2), "a")
    assert counts([first], "rex", "j") == ("", 1, 0, 0)
    second = fact("rex", JobContext(job_id="j", part=2, parts=2), failed=("b",))
    assert counts([first, first, second], "rex", "j") == ("succeeded", 1, 0, 1)


def test_pending_images_end_with_a_later_try() -> None:
    first = fact("rex", JobContext(job_id="j"), "a", pending=("b",))
    assert counts([first, first], "rex", "j") == ("", 1, 0, 0)
    second = fact("rex", JobContext(job_id="j", attempt=2), "b")
    assert counts([first, second, first, second], "rex", "j") == ("succeeded", 2, 0, 0)


def test_a_job_of_which_nothing_is_left_has_failed() -> None:
    log = [fact("rex", JobContext(job_id="j"), failed=("a", "b"))]
    assert counts(log, "rex", "j") == ("failed", 0, 0, 2)


def test_an_image_that_is_known_before_any_fact_has_carried_it_is_noticed() -> None:
    founded, unfounded = fact("rex", JobContext(job_id="j"), "a"), fact("rex", JobContext(job_id="k"), known=("a", "b"))
    assert second_opinion([founded, unfounded])["rex"].unfounded == [("k", "b")]
    assert counts([founded, unfounded], "rex", "k") == ("succeeded", 0, 1, 1)


def test_it_imports_nothing_from_tables() -> None:
    tree = ast.parse(Path(oracle.__file__).read_text())
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert imported
    assert not [name for name in imported if name.split(".")[0] in ("tables", "agents", "projections", "app")]
