"""When a job ends and what is said about it: parts, retries, runs, repeats."""

from __future__ import annotations

from typing import Any

import msgspec

from schemas.facts import WHOLE_LIST, EmbeddedImage, FailedImage, ImagesEmbedded, JobContext
from tables.outputs import Output
from tables.pet import MAX_OPEN_JOBS
from tables.replay import LogReplay
from tables.rows import head_key
from tests.albums import DIMENSION, MODEL, Directions, embedded, image
from tests.unit.test_fold import Entry, burst_log, entry, fold, statuses, versions
from tests.unit.test_state_bounds import HEAD_LIMIT


def photos(*names: str) -> list[EmbeddedImage]:
    directions = Directions(2)
    burst = directions.new()
    return [image(name, directions.near(burst)) for name in names]


def tried(
    *names: str,
    attempt: int = 1,
    pending: tuple[str, ...] = (),
    failed: tuple[str, ...] = (),
    known: tuple[str, ...] = (),
    **job: object,
) -> Entry:
    """The fact of one try of a command."""
    fact = embedded(photos(*names), attempt=attempt, **job)  # type: ignore[arg-type]
    failures = tuple(FailedImage(name, "unavailable", "503") for name in failed)
    return entry(msgspec.structs.replace(fact, pending=pending, failed=failures, known=known))


def ends(log: list[Entry]) -> list[tuple[str, int, int, int, int]]:
    """(state, try, placed, known, failed) of each end."""
    return [(s.status, s.attempt, s.placed, s.known, s.failed) for s in statuses(fold(log)[1])]


def test_the_same_job_five_times_has_one_effect_and_one_outcome() -> None:
    directions = Directions(4)
    photos = [image(f"i{n}", directions.near(directions.new())) for n in range(3)]
    _, outputs = fold([entry(embedded(photos))] * 5)
    assert len(versions(outputs)) == 1
    assert [s.status for s in statuses(outputs)] == ["succeeded"]


def test_known_images_under_another_job_succeed_at_the_version_that_holds() -> None:
    directions = Directions(5)
    photos = [image(f"i{n}", directions.near(directions.new())) for n in range(3)]
    known = ImagesEmbedded(
        job=JobContext(job_id="later"), model=MODEL, dimension=DIMENSION, known=tuple(p.image_id for p in photos)
    )
    _, outputs = fold([entry(embedded(photos)), entry(known)])
    last = statuses(outputs)[-1]
    assert (last.status, last.version, last.known, last.placed) == ("succeeded", 1, 3, 0)


def test_a_job_of_two_commands_ends_with_the_second() -> None:
    directions = Directions(6)
    one, two = (image(f"i{n}", directions.near(directions.new())) for n in range(2))
    log = [entry(embedded([one], part=2, parts=2)), entry(embedded([one], part=2, parts=2))]
    _, outputs = fold(log)
    assert statuses(outputs) == []
    _, outputs = fold([*log, entry(embedded([two], part=1, parts=2))])
    assert [(s.status, s.placed, s.version) for s in statuses(outputs)] == [("succeeded", 2, 2)]


def test_a_job_without_a_usable_image_fails_and_is_dead_lettered() -> None:
    failed = ImagesEmbedded(
        job=JobContext(job_id="j"),
        model=MODEL,
        dimension=DIMENSION,
        failed=(FailedImage("i1", "not_an_image", "cannot identify image file"),),
    )
    _, outputs = fold([entry(failed)])
    status = statuses(outputs)[0]
    assert status.status == "failed"
    assert status.failed_images[0].image_id == "i1"
    assert "i1: cannot identify image file" in status.error
    assert [o.channel for o in outputs[0]] == ["status", "deadletter"]


def test_a_job_that_names_no_image_publishes_the_current_clusters_again() -> None:
    log = [*burst_log(7), entry(embedded([], job_id="bare"))]
    _, outputs = fold(log)
    assert [o.channel for o in outputs[-1]] == ["status", "updated"]
    assert outputs[-1][1] == outputs[-2][1], "the repeat is identical to the message of that version"


def test_a_job_that_is_split_anew_ends_with_the_split_that_is_complete() -> None:
    directions = Directions(14)
    one, two, three = (image(f"i{n}", directions.near(directions.new())) for n in range(3))
    _, outputs = fold([entry(embedded([one], part=1, parts=3)), entry(embedded([one, two], part=1, parts=1))])
    assert [(s.status, s.placed, s.known) for s in statuses(outputs)] == [("succeeded", 2, 1)]
    log = [entry(embedded([one], part=1, parts=2)), entry(embedded([two], part=2, parts=3))]
    assert statuses(fold(log)[1]) == []
    log += [entry(embedded([three], part=3, parts=3)), entry(embedded([one], part=1, parts=3))]
    assert [s.status for s in statuses(fold(log)[1])] == ["succeeded"]


def test_a_job_ends_when_its_pending_images_are_settled_and_counts_all_tries() -> None:
    log = [tried("a", "b", pending=("c", "d"))]
    assert ends(log) == [], "c and d may come yet"
    log += [tried("c", attempt=2, pending=("d",)), tried(attempt=3, failed=("d",))]
    assert ends(log) == [("succeeded", 3, 3, 0, 1)]


def test_a_part_that_is_retried_holds_the_job_and_no_other_part() -> None:
    log = [tried("a", pending=("b",), part=1, parts=2), tried("c", part=2, parts=2)]
    assert ends(log) == []
    assert ends([*log, tried("b", attempt=2, part=1, parts=2)]) == [("succeeded", 2, 3, 0, 0)]


def test_a_repeated_try_counts_once_whatever_its_repeat_says() -> None:
    first, second = tried("a", pending=("b",)), tried("b", attempt=2)
    assert ends([first, first, second, second, first]) == [("succeeded", 2, 2, 0, 0)]


def test_a_try_that_is_repeated_without_pending_images_settles_the_command() -> None:
    """Behind a crash between the fact and its retry, the source is back: no retry will ever follow."""
    first = tried("a", pending=("b", "c"), failed=("d",))
    repeat = tried("a", "b", failed=("d", "c"))
    log = [first, repeat]
    assert ends(log) == [("succeeded", 1, 2, 0, 2)], "each image counts once"
    assert ends([*log, tried(attempt=2, known=("b",), failed=("c",)), repeat]) == ends(log)
    assert fold(log)[0].store.pet("pet_1").image_count == 2
    assert [f.image_id for f in statuses(fold(log)[1])[0].failed_images] == ["d", "c"]


def test_a_try_that_is_repeated_with_fewer_images_pending_counts_those_that_came_meanwhile() -> None:
    first, repeat = tried(pending=("b", "c")), tried("b", pending=("c",))
    assert ends([first, repeat, tried(attempt=2, failed=("c",))]) == [("succeeded", 2, 1, 0, 1)]
    assert ends([first, repeat, first, repeat, tried("c", attempt=2)]) == [("succeeded", 2, 2, 0, 0)]
    # Both retries, the first one's and the repeat's, come through: b is in the album already.
    assert ends([first, repeat, tried("b", "c", attempt=2), tried("c", attempt=2)]) == [("succeeded", 2, 2, 0, 0)]


def test_an_early_try_that_is_repeated_behind_its_retry_counts_what_it_places() -> None:
    first, second = tried("a", pending=("b", "c"), failed=("d",)), tried(attempt=2, pending=("b", "c"))
    late = tried("a", "b", pending=("c",), failed=("d",))
    assert ends([first, second, late, tried("b", "c", attempt=3)]) == [("succeeded", 3, 3, 0, 1)]


def test_a_list_that_could_not_be_had_is_no_image() -> None:
    unlisted = tried(pending=(WHOLE_LIST,))
    assert ends([unlisted, unlisted, tried("a", "b", pending=("c",), attempt=2), tried("c", attempt=3)]) == [
        ("succeeded", 3, 3, 0, 0)
    ]
    # Behind a crash the same try has the list, and the retry of the first comes, too.
    assert ends([unlisted, tried("a", "b"), tried("a", "b", attempt=2)]) == [("succeeded", 1, 2, 0, 0)]


def test_a_refused_part_ends_the_job_with_the_counts_of_the_others() -> None:
    strange = msgspec.structs.replace(photos("z")[0], vector=b"\0" * 2)
    log = [tried("a", "b", part=1, parts=2), entry(embedded([strange], part=2, parts=2))]
    assert ends(log) == [("failed", 1, 2, 0, 1)]


def test_outcomes_of_two_requeues_of_one_run_have_ids_of_their_own() -> None:
    log = [tried("a", failed=("b",)), tried("b", run=2, requeue="0" * 16), tried(known=("a",), run=2, requeue="f" * 16)]
    outputs = [output for each in fold(log)[1] for output in each if output.channel == "status"]
    assert len({output.id for output in outputs}) == 3


def test_images_placed_by_an_early_try_are_in_the_answer_before_the_job_ends() -> None:
    outputs = fold([tried("a", "b", pending=("c",))])[1]
    assert [version.image_count for version in versions(outputs)] == [2]


def test_a_requeued_run_ends_once_and_says_its_number() -> None:
    run: dict[str, Any] = {"run": 2, "requeue": "0123456789abcdef"}
    another: dict[str, Any] = {"run": 2, "requeue": "f" * 16}
    log = [tried("a", failed=("b",)), tried("b", **run), tried("b", **run), tried(known=("a",), **another)]
    states = statuses(fold(log)[1])
    assert [(s.job_id, s.run, s.status, s.placed, s.known) for s in states] == [
        ("job", 1, "succeeded", 1, 0),
        ("job", 2, "succeeded", 1, 0),
        ("job", 2, "succeeded", 0, 1),
    ]


def test_an_image_that_was_refused_is_not_called_known() -> None:
    bad = ImagesEmbedded(
        job=JobContext(job_id="first"), model=MODEL, dimension=DIMENSION, images=(image("x", b"\x00" * 2 * DIMENSION),)
    )
    states = statuses(fold([entry(bad), tried(known=("x",), job_id="second")])[1])
    assert [(s.job_id, s.status, s.known, s.failed) for s in states] == [
        ("first", "failed", 0, 1),
        ("second", "failed", 0, 1),
    ]
    assert states[1].failed_images[0].kind == "not_in_album"


def test_open_jobs_are_bounded_and_the_oldest_ends_as_failed() -> None:
    many = MAX_OPEN_JOBS + 3
    long_reason = tuple(FailedImage(f"{'i' * 120}-{n}", "unavailable", "r" * 500) for n in range(64))
    replay, outputs = LogReplay(0), list[list[Output]]()
    for n in range(many):
        fact = ImagesEmbedded(
            job=JobContext(job_id=f"{'j' * 120}-{n}", parts=2), model=MODEL, dimension=DIMENSION, failed=long_reason
        )
        outputs.append(replay.apply(n, *entry(fact)))
    assert len(replay.store.pet("pet_1").jobs) == MAX_OPEN_JOBS
    ended = [(s.job_id.rpartition("-")[2], s.status, s.failed) for s in statuses(outputs)]
    assert ended == [("0", "failed", 64), ("1", "failed", 64), ("2", "failed", 64)]
    assert "abandoned" in statuses(outputs)[0].error
    assert [o.channel for event in outputs for o in event].count("deadletter") == 3
    assert len(replay.rows[head_key("pet_1")]) <= HEAD_LIMIT


def test_a_forced_job_that_names_no_image_makes_no_version_for_a_pet_that_has_none() -> None:
    outputs = fold([tried(force=True)])[1]
    assert (versions(outputs), [s.status for s in statuses(outputs)]) == ([], ["succeeded"])
