"""What the rows tell about the past: versions, answers at a version and as of a time, places of an image, members."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from projections.history import MAX_PAGE, HistoryReader
from projections.members import MemberRow
from projections.missing import Missing
from projections.reader import ClusterReader
from schemas.errors import InvalidInput
from schemas.headers import timestamp
from schemas.ids import UNCLUSTERED
from tests.integration.projections.samples import START, Album, cluster, member, version
from tests.integration.projections.test_versions import apply


@pytest.fixture
def history(pool: Any) -> HistoryReader:
    return HistoryReader(pool)


async def cause_of(question: Any) -> str:
    with pytest.raises(Missing) as missing:
        await question
    return missing.value.cause


async def forget(pool: Any, *versions: int) -> None:
    """Remove versions of 101 as retention does, and the rows that held at them only."""
    kept = "SELECT FROM pet_clusters AS v WHERE v.pet_id = r.pet_id AND v.version >= r.since_version"
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("DELETE FROM pet_clusters WHERE pet_id = '101' AND version = ANY ($1)", versions)
        for table in ("cluster_members", "cluster_heroes", "cluster_summaries"):
            await connection.execute(
                f"DELETE FROM {table} AS r WHERE NOT EXISTS ({kept} AND v.version < r.until_version)"
                " AND until_version IS NOT NULL"
            )


# ---- versions


async def test_versions_are_listed_newest_first_with_counts_time_and_cause(pool: Any, history: HistoryReader) -> None:
    album = Album("101", seed=1)
    drawn = [album.draw() for _ in range(5)]
    await apply(pool, *drawn)
    rows, following = await history.versions("101", 10)
    assert following is None
    assert [row.version for row in rows] == [5, 4, 3, 2, 1]
    newest, last = rows[0], drawn[-1]
    assert newest.updated_at == timestamp(START + timedelta(seconds=5))
    assert (newest.cluster_count, newest.image_count) == (last.cluster_count, last.image_count)
    assert (newest.unclustered_count, newest.job_id) == (last.unclustered_count, "job-5")
    assert (newest.model, newest.policy_id, newest.log_partition, newest.log_offset) == (
        "effnet-lite0@1", "default-1", 0, 5,
    )  # fmt: skip


async def test_pages_of_versions_are_the_whole_while_new_ones_come(pool: Any, history: HistoryReader) -> None:
    album = Album("101", seed=2)
    await apply(pool, *(album.draw() for _ in range(7)))
    seen: list[int] = []
    cursor: str | None = None
    while True:
        rows, cursor = await history.versions("101", 3, cursor)
        seen += [row.version for row in rows]
        if cursor is None:
            break
        await apply(pool, album.draw())
    assert seen == [7, 6, 5, 4, 3, 2, 1]


# ---- at a version


async def test_a_version_that_never_was_and_one_that_was_removed_are_told_apart(
    pool: Any, history: HistoryReader
) -> None:
    album = Album("101", seed=3)
    await apply(pool, *(album.draw() for _ in range(6)))
    then = {number: await history.answer_at("101", number) for number in range(1, 7)}
    await forget(pool, 1, 2, 4)

    assert [await cause_of(history.answer_at("101", number)) for number in (1, 2, 4)] == ["removed"] * 3
    assert await cause_of(history.answer_at("101", 7)) == "version"
    assert await cause_of(history.answer_at("102", 1)) == "pet"
    for number in (3, 5, 6):
        assert await history.answer_at("101", number) == then[number]


# ---- as of a time


async def test_as_of_a_time_is_the_version_that_held_to_the_microsecond(pool: Any, history: HistoryReader) -> None:
    album = Album("101", seed=4)
    await apply(pool, *(album.draw() for _ in range(4)))
    tick = timedelta(microseconds=1)
    for number in range(1, 5):
        moment = START + timedelta(seconds=number)
        assert (await history.answer_as_of("101", moment)) == await history.answer_at("101", number)
        if number > 1:
            assert (await history.answer_as_of("101", moment - tick)).version == number - 1
    assert (await history.answer_as_of("101", START + timedelta(days=99))).version == 4
    with pytest.raises(Missing, match=r"first version is of 2026-11-21T07:49:25\.624049") as missing:
        await history.answer_as_of("101", START + timedelta(seconds=1) - tick)
    assert missing.value.cause == "version"
    assert await cause_of(history.answer_as_of("102", START)) == "pet"


async def test_a_clock_that_was_behind_does_not_hide_the_last_version(pool: Any, history: HistoryReader) -> None:
    """Version 2 was made on a machine whose clock ran two seconds behind that of versions 1 and 3."""
    for number, second in ((1, 10), (2, 8), (3, 12)):
        await apply(pool, version("101", number, time=timestamp(START + timedelta(seconds=second))))
    held = {second: (await history.answer_as_of("101", START + timedelta(seconds=second))).version
            for second in (8, 9, 10, 11, 12, 13)}  # fmt: skip
    assert held == {8: 2, 9: 2, 10: 2, 11: 2, 12: 3, 13: 3}


async def test_as_of_a_removed_version_names_no_other(pool: Any, history: HistoryReader) -> None:
    """A pinned version does not stand in for those behind it that retention removed."""
    album = Album("101", seed=5)
    await apply(pool, *(album.draw() for _ in range(6)))
    await forget(pool, 1, 3, 4)  # version 2 is pinned
    for second in (1, 2, 3, 4):
        assert await cause_of(history.answer_as_of("101", START + timedelta(seconds=second))) == "removed"
    assert (await history.answer_as_of("101", START + timedelta(seconds=5))).version == 5


# ---- members


async def all_members(
    history: HistoryReader, number: int, version: int | None = None, limit: int = 2
) -> list[MemberRow]:
    page = await history.members("101", number, version, limit)
    found = list(page.members)
    while page.cursor is not None:
        page = await history.members("101", number, None, limit, page.cursor)
        found += page.members
    assert page.member_count == len(found)
    return found


@pytest.mark.parametrize("seed", range(3))
async def test_all_members_of_every_version_are_listed_best_first(pool: Any, history: HistoryReader, seed: int) -> None:
    album, then = Album("101", seed=seed), {}
    for _ in range(20):
        await apply(pool, album.draw())
        then[album.number] = album.expected()
    for number, clusters in then.items():
        answer = await history.answer_at("101", number)
        shown = {int(each.id.rpartition("-")[2]) for each in answer.clusters}
        for place in {*clusters, UNCLUSTERED}:
            if place != UNCLUSTERED and place not in shown:
                continue
            found = await all_members(history, place, number)
            assert [each.image_id for each in found] == clusters.get(place, [])


async def test_pages_of_members_are_of_one_version_while_new_ones_come(pool: Any, history: HistoryReader) -> None:
    images = tuple(member(f"i{n:02d}", 0, 0.5 + n % 4 / 10) for n in range(10))
    await apply(pool, version("101", 1, images, (cluster(0, 10, "i03"),)))
    page = await history.members("101", 0, None, 3)
    seen = [each.image_id for each in page.members]
    number = 1
    while page.cursor is not None:
        number += 1
        # One moves to the front, one comes, one that was shown or is to be shown leaves.
        changes = (member(f"i{number}9", 0, 0.99), member(f"i0{number + 2}", 1, 0.4))
        await apply(pool, version("101", number, changes, (cluster(0, 10, "i03"), cluster(1, number - 1, "i04"))))
        page = await history.members("101", 0, None, 3, page.cursor)
        assert page.version == 1
        seen += [each.image_id for each in page.members]
    assert number > 3
    assert seen == sorted((each.image_id for each in images), key=lambda name: (-(int(name[1:]) % 4), name))


async def test_a_member_tells_how_it_came_there(pool: Any, history: HistoryReader) -> None:
    change = member("a", 0, 0.75, quality=0.5, width=640, height=480, taken_at="2026-01-02T03:04:05", runner_up=4,
                    runner_up_score=0.6)  # fmt: skip
    loose = member("n", -1, 1.0, "opened")
    await apply(pool, version("101", 1, (change, loose), (cluster(0, 1, "a"),), unclustered_count=1))
    (found,) = await all_members(history, 0)
    assert found == MemberRow(
        image_id="a", score=0.75, rule="joined", since_version=1, runner_up="101-cluster-4", runner_up_score=0.6,
        quality=0.5, width=640, height=480, taken_at="2026-01-02T03:04:05",
    )  # fmt: skip
    (unclustered,) = await all_members(history, UNCLUSTERED)
    assert (unclustered.image_id, unclustered.rule, unclustered.runner_up) == ("n", "opened", None)


async def test_a_cluster_that_is_not_there_is_missing_and_its_heir_is_named(pool: Any, history: HistoryReader) -> None:
    await apply(
        pool,
        version("101", 1, (member("a", 0), member("b", 1)), (cluster(0, 1, "a"), cluster(1, 1, "b"))),
        version("101", 2, (), (cluster(0, 2, "a"), cluster(1, 0, merged_into=0))),
    )
    assert (await history.members("101", 1, 1, 5)).member_count == 1
    with pytest.raises(Missing, match="Version 2 merged it into 101-cluster-0") as missing:
        await history.members("101", 1, None, 5)
    assert missing.value.cause == "cluster"
    assert await cause_of(history.members("101", 7, None, 5)) == "cluster"
    assert await cause_of(history.members("101", 0, 3, 5)) == "version"
    assert await cause_of(history.members("102", 0, None, 5)) == "pet"
    await forget(pool, 1)
    assert await cause_of(history.members("101", 0, 1, 5)) == "removed"


# ---- where an image lay


async def test_an_image_is_followed_through_all_versions(pool: Any, history: HistoryReader) -> None:
    await apply(
        pool,
        version("101", 1, (member("x", -1, 1.0, "opened"),), unclustered_count=1),
        version(
            "101", 2, (member("x", 1, 0.8, runner_up=0, runner_up_score=0.4), member("a", 0)),
            (cluster(0, 1, "a"), cluster(1, 1, "x")),
        ),
        version("101", 3, (), (cluster(0, 2, "a"), cluster(1, 0, merged_into=0))),
    )  # fmt: skip
    rows, following = await history.places("101", "x", 10)
    assert following is None
    assert [(row.cluster, row.since_version, row.until_version, row.rule, row.score) for row in rows] == [
        ("101-cluster-0", 3, None, "merged", 0.8),
        ("101-cluster-1", 2, 3, "joined", 0.8),
        (None, 1, 2, "opened", 1.0),
    ]
    assert (rows[1].runner_up, rows[1].runner_up_score) == ("101-cluster-0", 0.4)
    assert [row.since for row in rows] == [timestamp(START + timedelta(seconds=second)) for second in (3, 2, 1)]
    assert await cause_of(history.places("101", "y", 10)) == "image"
    assert await cause_of(history.places("102", "x", 10)) == "image"

    first, cursor = await history.places("101", "x", 2)
    rest, end = await history.places("101", "x", 2, cursor)
    assert (first + rest, end) == (rows, None)


# ---- jobs by state, limits, cursors


@pytest.mark.parametrize("limit", [0, -1, MAX_PAGE + 1])
async def test_a_limit_that_no_page_has_is_refused(history: HistoryReader, reader: ClusterReader, limit: int) -> None:
    for question in (
        history.versions("101", limit),
        history.members("101", 0, None, limit),
        history.places("101", "a", limit),
        history.difference("101", 1, 1, limit),
        reader.jobs_by_status("failed", limit),
    ):
        with pytest.raises(InvalidInput, match="limit"):
            await question


@pytest.mark.parametrize(
    "cursor", ["junk", "é", "Lw", "MS8yLzMvNA", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "MS8wL25hbi9h"]
)
async def test_a_cursor_that_was_not_given_out_is_refused(pool: Any, history: HistoryReader, cursor: str) -> None:
    await apply(pool, version("101", 1, (member("a", 0),), (cluster(0, 1, "a"),)))
    for question in (
        history.versions("101", 5, cursor),
        history.members("101", 0, None, 5, cursor),
        history.places("101", "a", 5, cursor),
        history.difference("101", 1, 1, 5, cursor),
    ):
        with pytest.raises(InvalidInput, match="cursor"):
            await question


async def test_a_cursor_of_another_cluster_or_version_is_refused(pool: Any, history: HistoryReader) -> None:
    images = tuple(member(f"{number}{letter}", number) for number in (0, 1) for letter in "abc")
    await apply(pool, version("101", 1, images, (cluster(0, 3, "0a"), cluster(1, 3, "1a"))), version("101", 2))
    cursor = (await history.members("101", 0, 1, 2)).cursor
    assert cursor is not None
    for number, wanted in ((1, None), (0, 2)):
        with pytest.raises(InvalidInput, match="cursor"):
            await history.members("101", number, wanted, 2, cursor)
