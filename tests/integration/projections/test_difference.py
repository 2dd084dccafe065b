"""What changed between two versions, told by rows: applied to the one answer, it gives the other."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from projections.difference import ClusterDifference, ClusterState, ImageDifference
from projections.history import HistoryReader, PetDifference
from projections.missing import Missing
from schemas.answers import AnswerCluster, AnswerHero, AnswerMember, ClusterAnswer
from schemas.errors import InvalidInput
from schemas.versions import PetVersion
from tables.replay import LogReplay
from tests.integration.projections.samples import Album, cluster, member, version
from tests.integration.projections.test_history import cause_of, forget
from tests.integration.projections.test_versions import apply

PAIRS = 60
LOGS = Path(__file__).parents[2] / "replay"


@pytest.fixture
def history(pool: Any) -> HistoryReader:
    return HistoryReader(pool)


def whole(drawn: PetVersion) -> PetVersion:
    """The version with answers that list all members, so that nothing of an answer is left out."""
    return msgspec.structs.replace(drawn, max_cluster_size=1000)


async def difference(
    history: HistoryReader, earlier: int, later: int, limit: int = 500, pet_id: str = "101"
) -> tuple[list[ClusterDifference], list[ImageDifference], PetDifference]:
    """All pages of a difference behind each other, and the first."""
    page, cursor = await history.difference(pet_id, earlier, later, limit)
    first, clusters, images = page, list(page.clusters), list(page.images)
    while cursor is not None:
        assert len(page.clusters) + len(page.images) == limit
        page, cursor = await history.difference(pet_id, earlier, later, limit, cursor)
        assert not (images and page.clusters), "clusters come before images"
        clusters += page.clusters
        images += page.images
    return clusters, images, first


def applied(
    answer: ClusterAnswer, clusters: list[ClusterDifference], images: list[ImageDifference], ends: PetDifference
) -> ClusterAnswer:
    """What a caller makes of an answer that it holds and a difference."""
    where = {each.image_id: (each_cluster.id, each.score) for each_cluster in answer.clusters
             for each in each_cluster.members}  # fmt: skip
    gone = {image.image_id for image in images}
    where = {image_id: place for image_id, place in where.items() if image_id not in gone}
    loose = [image_id for image_id in answer.unclustered if image_id not in gone]
    fresh = [image for image in images if image.change != "left" and image.to_cluster is None]
    fresh.sort(key=lambda image: (-(image.since_version or 0), image.image_id))
    for image in images:
        if image.to_cluster is not None and image.score is not None:
            where[image.image_id] = (image.to_cluster, image.score)
    states = {each.id: (each.label, each.member_count, each.heroes) for each in answer.clusters}
    for change in clusters:
        states.pop(change.cluster, None)
        if change.after is not None:
            states[change.cluster] = (change.after.label, change.after.member_count, change.after.heroes)
    shown = []
    for identity, (label, count, heroes) in sorted(states.items(), key=lambda item: int(item[0].split("-")[-1])):
        inside = sorted((-score, image_id) for image_id, (place, score) in where.items() if place == identity)
        members = tuple(AnswerMember(image_id, -score, rank) for rank, (score, image_id) in enumerate(inside))
        shown.append(AnswerCluster(identity, label, members, heroes[0].image_id, count, heroes))
    return msgspec.structs.replace(
        answer,
        version=ends.later.version,
        updated_at=ends.later.updated_at,
        clusters=tuple(shown),
        image_count=ends.later.image_count,
        unclustered_count=ends.later.unclustered_count,
        unclustered=(*(image.image_id for image in fresh), *loose),
    )


def but_for_metrics(answer: ClusterAnswer, other: ClusterAnswer) -> ClusterAnswer:
    return msgspec.structs.replace(answer, metrics=other.metrics)


@pytest.mark.parametrize("seed", range(4))
async def test_a_difference_applied_to_an_answer_gives_the_other(pool: Any, history: HistoryReader, seed: int) -> None:
    """For random histories with merges, moves and removals, random pairs of versions and pages of any size."""
    album, chance = Album("101", seed=seed), random.Random(seed)
    await apply(pool, *(whole(album.draw()) for _ in range(30)))
    answers = {number: await history.answer_at("101", number) for number in range(1, 31)}
    for _ in range(PAIRS):
        earlier, later = sorted(chance.choices(range(1, 31), k=2))
        clusters, images, ends = await difference(history, earlier, later, chance.choice((1, 2, 5, 500)))
        assert [each.image_id for each in images] == sorted({each.image_id for each in images})
        result = applied(answers[earlier], clusters, images, ends)
        assert result == but_for_metrics(answers[later], result)


@pytest.mark.parametrize("recorded", ["leader-merge-1.msgpack", "leader-merge-1-merges.msgpack"])
async def test_differences_of_recorded_logs_lead_from_answer_to_answer(
    pool: Any, history: HistoryReader, recorded: str
) -> None:
    """Logs of real photos and of merges, a forced job and a recluster, through the real fold."""
    replays: dict[int, LogReplay] = {}
    lasts: dict[str, int] = {}
    for partition, offset, key, value in msgspec.msgpack.decode((LOGS / recorded).read_bytes()):
        made = replays.setdefault(partition, LogReplay(partition)).feed(offset, key, value)
        if isinstance(made, PetVersion):
            await apply(pool, whole(made))
            lasts[made.pet_id] = made.version
    seen: set[str] = set()
    for pet_id, last in lasts.items():
        answers = {number: await history.answer_at(pet_id, number) for number in range(1, last + 1)}
        for earlier, later in {(number, number + 1) for number in range(1, last)} | {(1, last), (last // 2 or 1, last)}:
            clusters, images, ends = await difference(history, earlier, later, pet_id=pet_id)
            result = applied(answers[earlier], clusters, images, ends)
            assert result == but_for_metrics(answers[later], result)
            seen |= {each.change for each in clusters} | {each.change for each in images}
    assert {"appeared", "changed", "moved"} <= seen
    assert ({"merged", "rescored"} <= seen) == ("merges" in recorded)


@pytest.mark.parametrize("seed", range(2))
async def test_a_difference_names_nothing_that_is_as_it_was(pool: Any, history: HistoryReader, seed: int) -> None:
    album = Album("101", seed=100 + seed)
    await apply(pool, *(whole(album.draw()) for _ in range(20)))
    answers = {number: await history.answer_at("101", number) for number in range(1, 21)}
    for earlier in range(1, 20, 3):
        then, now = ({c.id: c for c in answers[number].clusters} for number in (earlier, 20))
        places = [{m.image_id: c.id for c in answers[number].clusters for m in c.members} for number in (earlier, 20)]
        for answer, place in zip((answers[earlier], answers[20]), places, strict=True):
            place.update(dict.fromkeys(answer.unclustered, ""))
        clusters, images, _ = await difference(history, earlier, 20)
        for change in clusters:
            assert (change.before is not None, change.after is not None) == (
                change.cluster in then,
                change.cluster in now,
            )
            assert change.before != change.after
        for image in images:
            was, is_now = (place.get(image.image_id) for place in places)
            assert (image.from_cluster, image.to_cluster) == (was or None, is_now or None)
            expected = (
                "appeared" if was is None else "left" if is_now is None else "moved" if was != is_now else "rescored"
            )
            assert image.change == expected


async def test_pages_of_a_difference_stay_the_same_while_new_versions_come(pool: Any, history: HistoryReader) -> None:
    album = Album("101", seed=7)
    await apply(pool, *(album.draw() for _ in range(12)))
    clusters, images, _ = await difference(history, 3, 12)
    assert len(images) > 6
    paged: list[Any] = []
    cursor: str | None = None
    while True:
        page, cursor = await history.difference("101", 3, 12, 2, cursor)
        paged += [*page.clusters, *page.images]
        if cursor is None:
            break
        await apply(pool, album.draw())
    assert paged == [*clusters, *images]


async def test_a_version_does_not_differ_from_itself(pool: Any, history: HistoryReader) -> None:
    album = Album("101", seed=8)
    await apply(pool, *(album.draw() for _ in range(3)))
    clusters, images, ends = await difference(history, 2, 2)
    assert (clusters, images, ends.earlier) == ([], [], ends.later)


async def test_merges_are_followed_to_their_end(pool: Any, history: HistoryReader) -> None:
    """2 into 1, later 1 into 0; and in one version 4 into 3 into 0."""
    await apply(
        pool,
        version(
            "101", 1, tuple(member(f"i{number}", number) for number in range(5)),
            tuple(cluster(number, 1, f"i{number}") for number in range(5)),
        ),
        version("101", 2, (), (cluster(1, 2, "i1"), cluster(2, 0, merged_into=1))),
        version(
            "101", 3, (),
            (cluster(0, 5, "i0"), cluster(1, 0, merged_into=0), cluster(3, 0, merged_into=0),
             cluster(4, 0, merged_into=3)),
        ),
    )  # fmt: skip
    clusters, images, _ = await difference(history, 1, 3)
    assert [(each.cluster, each.change, each.merged_into) for each in clusters] == [
        ("101-cluster-0", "changed", None),
        *((f"101-cluster-{number}", "merged", "101-cluster-0") for number in (1, 2, 3, 4)),
    ]
    assert clusters[0].before == ClusterState("Cluster 0", 1, 0.8, (AnswerHero("i0", 1, 0.9),))
    assert [(each.image_id, each.change, each.from_cluster, each.to_cluster, each.rule) for each in images] == [
        (f"i{number}", "moved", f"101-cluster-{number}", "101-cluster-0", "merged") for number in (1, 2, 3, 4)
    ]
    (_, gone), _, _ = await difference(history, 1, 2)
    assert (gone.cluster, gone.change, gone.merged_into) == ("101-cluster-2", "merged", "101-cluster-1")


async def test_splits_new_heroes_and_ends_are_told(pool: Any, history: HistoryReader) -> None:
    await apply(
        pool,
        version(
            "101", 1,
            (*(member(f"a{n}", 0) for n in range(4)), *(member(f"b{n}", 1) for n in range(2)), member("n", -1)),
            (cluster(0, 4, "a0", "a1"), cluster(1, 2, "b0")),
        ),
        version(
            "101", 2,
            (member("a2", 2, rule="reclustered"), member("a3", 2, rule="reclustered"), member("b0", -1, 0.1),
             member("b1", -1, 0.0, "removed"), member("n", 2), member("a1", 0, 0.95, "reclustered"),
             member("new", 2)),
            (cluster(0, 2, "a1", "a0"), cluster(1, 0), cluster(2, 4, "a2")),
        ),
    )  # fmt: skip
    (kept, ended, new), images, _ = await difference(history, 1, 2)
    assert (kept.change, kept.hero_changed) == ("changed", True)
    assert (ended.change, ended.after, ended.merged_into, ended.hero_changed) == ("ended", None, None, False)
    assert (new.change, new.before, new.split_from) == ("appeared", None, ("101-cluster-0",))
    assert [(each.image_id, each.change) for each in images] == [
        ("a1", "rescored"), ("a2", "moved"), ("a3", "moved"), ("b0", "moved"), ("b1", "left"), ("n", "moved"),
        ("new", "appeared"),
    ]  # fmt: skip
    left = images[4]
    assert (left.from_cluster, left.to_cluster, left.score, left.rule, left.since_version) == (
        "101-cluster-1", None, None, None, None,
    )  # fmt: skip


async def test_what_came_and_went_between_is_not_told(pool: Any, history: HistoryReader) -> None:
    await apply(
        pool,
        version("101", 1, (member("a", 0),), (cluster(0, 1, "a"),)),
        version("101", 2, (member("x", 1),), (cluster(1, 1, "x"),)),
        version("101", 3, (member("x", -1, 0.0, "removed"),), (cluster(1, 0),)),
    )
    clusters, images, _ = await difference(history, 1, 3)
    assert (clusters, images) == ([], [])


async def test_a_difference_of_kept_versions_is_whole_when_those_between_were_removed(
    pool: Any, history: HistoryReader
) -> None:
    album = Album("101", seed=9)
    await apply(pool, *(whole(album.draw()) for _ in range(20)))
    answers = {number: await history.answer_at("101", number) for number in (4, 20)}
    await forget(pool, *(number for number in range(1, 18) if number != 4))
    clusters, images, ends = await difference(history, 4, 20)
    result = applied(answers[4], clusters, images, ends)
    assert result == but_for_metrics(answers[20], result)
    assert await cause_of(history.difference("101", 3, 20, 5)) == "removed"
    assert await cause_of(history.difference("101", 4, 5, 5)) == "removed"


async def test_versions_that_cannot_be_compared_are_refused(pool: Any, history: HistoryReader) -> None:
    await apply(pool, version("101", 1, (member("a", 0), member("b", 0)), (cluster(0, 2, "a"),)), version("101", 2))
    with pytest.raises(InvalidInput, match="from: must not be larger than `to`"):
        await history.difference("101", 2, 1, 5)
    with pytest.raises(Missing, match="The last version is 2"):
        await history.difference("101", 1, 3, 5)
    assert await cause_of(history.difference("102", 1, 1, 5)) == "pet"
    await apply(pool, version("101", 3, (member("a", 1), member("b", 1)), (cluster(0, 0), cluster(1, 2, "b"))))
    _, cursor = await history.difference("101", 1, 3, 1)
    with pytest.raises(InvalidInput, match="cursor"):
        await history.difference("101", 2, 3, 1, cursor)
