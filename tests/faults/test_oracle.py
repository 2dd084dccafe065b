"""The second oracle: what it says of small logs, that it agrees with the fold, and that it needs nothing of it."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np

from schemas.codec import decode_version, encode_fact
from schemas.facts import EmbeddedImage, Fact, FailedImage, ImagesEmbedded, JobContext, Quality
from tables.replay import LogReplay
from tests.faults import oracle
from tests.faults.oracle import second_opinion

Record = tuple[bytes | None, bytes | None]
DIMENSION = 8


def image(image_id: str, seed: int = 0) -> EmbeddedImage:
    vector = np.random.default_rng(seed).standard_normal(DIMENSION)
    unit = np.round(vector / np.linalg.norm(vector) * 4096).astype("<i2")
    return EmbeddedImage(image_id, unit.tobytes(), Quality())


def record(
    pet: str,
    job: JobContext,
    *images: str,
    known: tuple[str, ...] = (),
    failed: tuple[str, ...] = (),
    pending: tuple[str, ...] = (),
) -> Record:
    fact: Fact = ImagesEmbedded(
        job=job,
        model="m@1",
        dimension=DIMENSION,
        images=tuple(image(name, seed=sum(name.encode())) for name in images),
        known=known,
        failed=tuple(FailedImage(name, "not_found", "gone") for name in failed),
        pending=pending,
    )
    time = "2026-01-01T00:00:00.000000+00:00"
    return pet.encode(), encode_fact(fact, event_id="e", time=time, pet_id=pet)


def counts(log: list[Record], pet: str, job: str) -> tuple[str, int, int, int]:
    opinion = second_opinion(log)[pet].jobs[job]
    return opinion.status, opinion.placed, opinion.known, opinion.failed


def test_a_repeated_fact_counts_once() -> None:
    log = [record("rex", JobContext(job_id="j"), "a", "b")] * 5
    assert counts(log, "rex", "j") == ("succeeded", 2, 0, 0)
    assert second_opinion(log)["rex"].images == {"a", "b"}
    assert second_opinion(log)["rex"].repeats == 4


def test_an_image_belongs_to_the_first_job_that_brings_it() -> None:
    log = [record("rex", JobContext(job_id="j"), "a"), record("rex", JobContext(job_id="k"), "a", "b")]
    assert counts(log, "rex", "k") == ("succeeded", 1, 1, 0)


def test_a_job_ends_with_the_last_of_its_commands() -> None:
    first = record("rex", JobContext(job_id="j", part=1, parts=2), "a")
    assert counts([first], "rex", "j") == ("", 1, 0, 0)
    second = record("rex", JobContext(job_id="j", part=2, parts=2), failed=("b",))
    assert counts([first, first, second], "rex", "j") == ("succeeded", 1, 0, 1)


def test_pending_images_end_with_a_later_try() -> None:
    first = record("rex", JobContext(job_id="j"), "a", pending=("b",))
    assert counts([first, first], "rex", "j") == ("", 1, 0, 0)
    second = record("rex", JobContext(job_id="j", attempt=2), "b")
    assert counts([first, second, first, second], "rex", "j") == ("succeeded", 2, 0, 0)


def test_a_job_of_which_nothing_is_left_has_failed() -> None:
    log = [record("rex", JobContext(job_id="j"), failed=("a", "b"))]
    assert counts(log, "rex", "j") == ("failed", 0, 0, 2)


def test_it_agrees_with_the_fold() -> None:
    """On the number of images, over a log with repeats, retries and shared images."""
    log = [
        record("rex", JobContext(job_id="j"), "a", "b", pending=("c",)),
        record("rex", JobContext(job_id="k"), "b", "d"),
        record("rex", JobContext(job_id="j"), "a", "b", pending=("c",)),
        record("rex", JobContext(job_id="j", attempt=2), "c"),
        record("rex", JobContext(job_id="l"), known=("a",), failed=("missing",)),
    ]
    replay, last = LogReplay(0), 0
    for offset, (key, value) in enumerate(log):
        for output in replay.apply(offset, key, value):
            if output.channel == "versions":
                last = decode_version(output.value).image_count
    assert last == len(second_opinion(log)["rex"].images) == 4


def test_it_imports_nothing_from_tables() -> None:
    tree = ast.parse(Path(oracle.__file__).read_text())
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert imported
    assert not [name for name in imported if name.split(".")[0] in ("tables", "agents", "projections", "app")]
