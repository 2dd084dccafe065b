"""The second oracle and the fold come to the same, over logs that a worker may write which dies again and again."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import decode_version
from schemas.facts import JobContext
from tables.replay import LogReplay
from tests.faults.made_up import Entry, fact
from tests.faults.oracle import second_opinion

PET = "rex"
Told = dict[str, tuple[str, int, int, int]]


def fold(log: list[Entry]) -> tuple[int, Told]:
    """Images of the album, and how each job has ended."""
    replay, images, ends = LogReplay(0), 0, Told()
    for offset, (key, value) in enumerate(log):
        for output in replay.apply(offset, key, value):
            if output.channel == "versions":
                images = decode_version(output.value).image_count
            if output.channel == "status":
                status = json.loads(output.value)
                assert status["job_id"] not in ends, "a job ends once"
                ends[status["job_id"]] = tuple(status[name] for name in ("status", "placed", "known", "failed"))
    return images, ends


def opinion(log: list[Entry]) -> tuple[int, Told]:
    """The same, by the second oracle."""
    pet = second_opinion(log)[PET]
    return len(pet.images), {key: job.told for key, job in pet.jobs.items() if job.ended}


def agree(*log: Entry) -> Told:
    """How the jobs end, when both say so."""
    assert opinion(list(log)) == fold(list(log))
    return opinion(list(log))[1]


def tried(attempt: int, *images: str, **rest: tuple[str, ...]) -> Entry:
    return fact(PET, JobContext(job_id="j", attempt=attempt), *images, **rest)


def test_on_shared_images_retries_and_repeats() -> None:
    first, shared = tried(1, "a", "b", pending=("c",)), fact(PET, JobContext(job_id="k"), "b", "d")
    last = fact(PET, JobContext(job_id="l"), known=("a",), failed=("missing",))
    ends = agree(first, shared, first, tried(2, "c"), last)
    assert ends == {"j": ("succeeded", 3, 0, 0), "k": ("succeeded", 1, 1, 0), "l": ("succeeded", 0, 1, 1)}


def test_on_a_try_whose_repeat_leaves_nothing_pending() -> None:
    first, repeat = tried(1, "a", pending=("b", "c"), failed=("d",)), tried(1, "b", known=("a",), failed=("c", "d"))
    assert agree(first, repeat) == {"j": ("succeeded", 2, 0, 2)}
    assert agree(first, repeat, repeat, tried(2, "b", failed=("c",))) == {"j": ("succeeded", 2, 0, 2)}


def test_on_a_try_whose_repeat_leaves_less_pending() -> None:
    first, repeat = tried(1, "a", pending=("b", "c")), tried(1, "b", known=("a",), pending=("c",))
    assert agree(first, repeat) == {}
    assert agree(first, repeat, tried(2, failed=("c",))) == {"j": ("succeeded", 2, 0, 1)}
    assert agree(first, repeat, tried(2, known=("b",), failed=("c",))) == {"j": ("succeeded", 2, 0, 1)}


def test_on_images_that_come_with_an_earlier_try() -> None:
    log = [tried(1, "a", pending=("b", "c")), tried(2, pending=("b", "c")), tried(1, "b", known=("a",), pending=("c",))]
    assert agree(*log, tried(3, "c", known=("b",))) == {"j": ("succeeded", 3, 0, 0)}


def test_on_a_job_that_is_split_anew() -> None:
    third, whole = JobContext(job_id="j", part=1, parts=3), JobContext(job_id="j", part=1, parts=1)
    assert agree(fact(PET, third, "a"), fact(PET, whole, "a", "b")) == {"j": ("succeeded", 2, 1, 0)}


def test_on_a_list_that_could_not_be_had_at_first() -> None:
    assert agree(tried(1, pending=("*",)), tried(1, "a", pending=("b",)), tried(2, failed=("b",))) == {
        "j": ("succeeded", 1, 0, 1)
    }


def test_on_a_list_that_could_not_be_had_when_the_try_was_repeated() -> None:
    log = [tried(1, pending=("a", "b")), tried(1, pending=("*",))]
    assert agree(*log) == {}
    assert agree(*log, tried(1, pending=("a", "b")), tried(2, "a", "b")) == {"j": ("succeeded", 2, 0, 0)}


@st.composite
def logs(draw: st.DrawFn) -> list[Entry]:
    """Facts of one command, try after try, each repeated at times. An image is in the album, away or missing at each
    look; what an earlier fact has placed, the worker may have noted (then it is known) or not (it looks again). A
    command that names no image asks for the pet's list, which may be away too.
    """
    images = [f"i{number}" for number in range(draw(st.integers(1, 4)))]
    missing = set(draw(st.lists(st.sampled_from(images), unique=True)))
    noted: set[str] = set()
    log: list[Entry] = []
    by_list = draw(st.booleans())
    for attempt in range(1, 5):
        asked, left, has_looked, without_list = images, set[str](), False, False
        for _ in range(draw(st.integers(1, 3))):
            without_list = by_list and attempt < 4 and draw(st.booleans())
            if without_list:
                log.append(tried(attempt, pending=("*",)))
                continue
            # Only one who died before the retry was sent repeats the try: whoever has noted an image knows it then.
            away = set(draw(st.lists(st.sampled_from(images), unique=True))) - noted if attempt < 4 else set[str]()
            away &= left if has_looked else away
            left, has_looked = away & set(asked), True
            placed = [name for name in asked if name not in noted | missing | left]
            known, failed = [n for n in asked if n in noted], [n for n in asked if n in missing - left]
            log.append(tried(attempt, *placed, known=tuple(known), failed=tuple(failed), pending=tuple(sorted(left))))
            noted |= set(draw(st.lists(st.sampled_from(placed), unique=True))) if placed else set()
        if without_list:
            continue
        if not left:
            return log
        images, by_list = sorted(left), False
    return log


@settings(max_examples=400, deadline=None)
@given(logs())
def test_on_whatever_a_worker_writes_that_dies_between_a_fact_and_its_retry(log: list[Entry]) -> None:
    assert agree(*log)
