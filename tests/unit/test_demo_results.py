"""What the demo accepts as right."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.local.demo_results import PetResult, mean_ari
from app.local.photos import Album, Photo
from app.local.publish import batches, entry_payload, taking_turns
from bridges.translate import parse_entry
from schemas.answers import AnswerCluster, AnswerMember, AnswerMetrics, ClusterAnswer
from schemas.headers import timestamp
from tests.unit.test_translate import NOW


def album(bursts: dict[str, str | None], *, labelled: bool = True) -> Album:
    photos = tuple(Photo(image_id, Path(image_id), burst) for image_id, burst in bursts.items())
    return Album("101", photos, labelled)


def answer(*clusters: str, loose: str = "", hidden: int = 0) -> ClusterAnswer:
    """Images are single letters; the first cluster has `hidden` members that are not listed."""
    made = tuple(
        AnswerCluster(
            f"101-cluster-{n}",
            "",
            tuple(AnswerMember(image_id, 1.0, i) for i, image_id in enumerate(ids)),
            ids[0],
            len(ids) + (hidden if n == 0 else 0),
            (),
        )
        for n, ids in enumerate(clusters)
    )
    count = sum(cluster.member_count for cluster in made) + len(loose)
    return ClusterAnswer("101", made, AnswerMetrics({}, None, ""), "", count, len(loose), tuple(loose), 1, 1)


BURSTS = {"a": "x", "b": "x", "c": "y", "d": "y", "e": None}


def test_right_clusters_have_ari_one_and_nothing_missing() -> None:
    result = PetResult(album(BURSTS), answer("ba", "cd", loose="e"))
    assert result.ari() == 1.0
    assert result.missing() == []


def test_wrong_clusters_have_a_low_ari() -> None:
    ari = PetResult(album(BURSTS), answer("ac", "bd", loose="e")).ari()
    assert ari is not None
    assert ari < 0.1


def test_two_singletons_in_one_cluster_are_wrong() -> None:
    ari = PetResult(album({**BURSTS, "f": None}), answer("ab", "cd", "ef")).ari()
    assert ari is not None
    assert ari < 1


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (answer("ab", "cd"), "e is missing"),
        (answer("ab", "cd", loose="ef"), "f is listed and was never sent"),
        (answer("ab", "bcd", loose="e"), "a photo is listed twice"),
        (answer("ab", "cd", hidden=5), "5 photos were sent, 9 are accounted for"),
    ],
)
def test_what_does_not_add_up_is_named(given: ClusterAnswer, problem: str) -> None:
    assert problem in PetResult(album(BURSTS), given).missing()


def test_members_that_an_answer_does_not_list_still_count() -> None:
    assert PetResult(album(BURSTS), answer("a", "cd", loose="e", hidden=1)).missing() == []


def test_own_photos_have_no_ari() -> None:
    unlabelled = PetResult(album(BURSTS, labelled=False), answer("ab"))
    assert unlabelled.ari() is None
    assert mean_ari([unlabelled]) is None
    assert mean_ari([unlabelled, PetResult(album(BURSTS), answer("ab", "cd", loose="e"))]) == 1.0


def test_published_jobs_cover_every_photo_and_read_back_as_they_were_meant() -> None:
    ids = [f"i{n}" for n in range(12)]
    jobs = [batches("101", ids, size=5, run="r"), batches("102", ids[:3], size=5, run="r")]
    assert [(job.pet_id, len(job.image_ids)) for job in taking_turns(jobs)] == [
        ("101", 5),
        ("102", 3),
        ("101", 5),
        ("101", 2),
    ]
    read = [parse_entry({b"payload": entry_payload(job, now=NOW)}, "1-0") for job in jobs[0]]
    assert [image_id for job in read for image_id in job.image_ids] == ids
    assert len({job.job_id for job in read}) == 3
    assert {job.enqueued_at for job in read} == {timestamp(NOW)}
