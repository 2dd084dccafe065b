"""Versions become rows: in order, once, with their history, and readable as answers."""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

import msgspec
import pytest

from projections.answers import read_at, read_latest
from projections.changes import merge_targets
from projections.postgres import SNAPSHOT_CODEC, SNAPSHOT_EVERY, Applied, Gap, Ignored, apply_version
from projections.reader import ClusterReader
from schemas.answers import AnswerHero, ClusterAnswer, encode_answer
from schemas.errors import InvalidInput
from schemas.versions import ClusterChange, GroupedHero, Hero, PetVersion
from tests.integration.projections.samples import Album, as_json, cluster, eventually, member, version

HISTORY = "SELECT * FROM {} WHERE pet_id = $1 ORDER BY ctid"


async def apply(pool: Any, *versions: PetVersion) -> list[Applied | Ignored | Gap]:
    outcomes = []
    for each in versions:
        async with pool.acquire() as connection, connection.transaction():
            outcomes.append(await apply_version(connection, each))
    return outcomes


async def latest(pool: Any, pet_id: str) -> ClusterAnswer:
    answer = await read_latest(pool, pet_id)
    assert answer is not None
    return answer


async def everything(pool: Any, pet_id: str) -> list[Any]:
    names = ("pet_clusters", "cluster_members", "cluster_summaries", "cluster_heroes")
    return [[tuple(row) for row in await pool.fetch(HISTORY.format(name), pet_id)] for name in names]


async def test_only_the_version_after_the_last_is_applied(pool: Any) -> None:
    album = Album("101", seed=3)
    versions = [album.draw() for _ in range(5)]
    assert await apply(pool, *versions[:3]) == [Applied(1), Applied(2), Applied(3)]
    before = await everything(pool, "101")

    assert await apply(pool, versions[2], versions[0], versions[4]) == [Ignored(3), Ignored(3), Gap(3)]
    assert await everything(pool, "101") == before
    assert await apply(pool, version("102", 2)) == [Gap(0)]

    assert await apply(pool, versions[3], versions[4]) == [Applied(4), Applied(5)]


async def test_of_two_writers_of_a_version_the_second_changes_nothing(pool: Any) -> None:
    album = Album("101", seed=4)
    first, second = album.draw(), album.draw()
    await apply(pool, first)
    async with pool.acquire() as owner, pool.acquire() as zombie:
        owners = owner.transaction()
        await owners.start()
        assert await apply_version(owner, second) == Applied(2)

        async def zombies_turn() -> Applied | Ignored | Gap:
            async with zombie.transaction():
                return await apply_version(zombie, second)

        waiting = asyncio.create_task(zombies_turn())
        await until_blocked(pool)
        await owners.commit()
        assert await waiting == Ignored(2)
    rows = await pool.fetch("SELECT image_id FROM cluster_members WHERE pet_id = '101' AND since_version = 2")
    assert sorted(row["image_id"] for row in rows) == sorted(
        change.image_id for change in second.members if change.rule != "removed"
    )


async def test_a_version_whose_first_writer_gave_up_is_applied_by_the_second(pool: Any) -> None:
    only = version("101", 1, (member("a", 0),), (cluster(0, 1, "a"),))
    async with pool.acquire() as owner, pool.acquire() as other:
        owners = owner.transaction()
        await owners.start()
        await apply_version(owner, only)
        waiting = asyncio.create_task(apply_version(other, only))
        await until_blocked(pool)
        await owners.rollback()
        assert await waiting == Applied(1)


async def until_blocked(pool: Any) -> None:
    """Until some session of this database waits for another one's transaction."""
    await eventually(
        lambda: pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    )


async def test_an_answer_has_the_shape_that_callers_know(pool: Any) -> None:
    await apply(
        pool,
        version(
            "101",
            1,
            (
                member("b", 0, 0.9, quality=0.25),
                member("a", 0, 0.9),
                member("c", 0, 0.95),
                member("d", 1, 0.5),
                member("n2", -1, 1.0, "opened"),
                member("n1", -1, 1.0, "opened"),
            ),
            (cluster(1, 1, "d", label="Naps"), cluster(0, 3, "a", "c", label="Pet A")),
            max_cluster_size=2,
            image_count=6,
            unclustered_count=2,
            coverage={"portrait": 0.6},
            quality_score=0.85,
        ),
        version("101", 2, (member("n3", -1, 1.0, "opened"),), image_count=7, unclustered_count=3, max_cluster_size=2),
    )
    answer = await latest(pool, "101")
    assert encode_answer(answer).endswith(b'"generation":1,"version":2}')
    assert as_json(answer) == {
        "pet_id": "101",
        "clusters": [
            {
                "id": "101-cluster-0",
                "label": "Pet A",
                "members": [
                    {"image_id": "c", "score": 0.95, "position": 0, "qualityScore": None},
                    {"image_id": "a", "score": 0.9, "position": 1, "qualityScore": None},
                ],
                "hero_image_id": "a",
                "member_count": 3,
                "heroes": [
                    {"image_id": "a", "rank": 1, "score": 0.9},
                    {"image_id": "c", "rank": 2, "score": 0.8},
                ],
            },
            {
                "id": "101-cluster-1",
                "label": "Naps",
                "members": [{"image_id": "d", "score": 0.5, "position": 0, "qualityScore": None}],
                "hero_image_id": "d",
                "member_count": 1,
                "heroes": [{"image_id": "d", "rank": 1, "score": 0.9}],
            },
        ],
        "metrics": {"coverage": {}, "quality_score": None, "processed_at": "2026-11-21T07:49:26.624049+00:00"},
        "updated_at": "2026-11-21T07:49:26.624049+00:00",
        "image_count": 7,
        "unclustered_count": 3,
        "unclustered": ["n3", "n1", "n2"],
        "generation": 1,
        "version": 2,
    }
    before = await read_at(pool, "101", 1)
    assert before is not None
    assert (before.metrics.coverage, before.metrics.quality_score) == ({"portrait": 0.6}, 0.85)


async def test_a_pet_without_a_version_has_no_answer(pool: Any) -> None:
    assert await read_latest(pool, "nobody") is None
    assert await read_at(pool, "nobody", 1) is None


async def test_a_pet_in_no_cluster_has_an_empty_list(pool: Any) -> None:
    await apply(pool, version("101", 1, (member("a", -1),), unclustered_count=1))
    answer = await latest(pool, "101")
    assert (answer.clusters, answer.unclustered) == ((), ("a",))


async def test_a_merge_moves_members_but_leaves_images_that_the_version_places(pool: Any) -> None:
    await apply(
        pool,
        version(
            "101",
            1,
            tuple(member(name, number, 0.8) for number in range(3) for name in (f"{number}x", f"{number}y")),
            tuple(cluster(number, 2, f"{number}x") for number in range(3)),
        ),
        version(
            "101",
            2,
            # One leaves the merged cluster, one is new in the target, one of the merged cluster is removed.
            (member("2x", 3, 0.7), member("new", 0, 0.6), member("1y", -1, 0.0, "removed")),
            (
                cluster(0, 5, "0x"),
                cluster(3, 1, "2x"),
                # In a chain: what lay in 2 ends up in 0.
                cluster(2, 0, merged_into=1),
                cluster(1, 0, merged_into=0),
            ),
        ),
    )
    now = await pool.fetch("SELECT * FROM cluster_members WHERE pet_id = '101' AND until_version IS NULL")
    assert {row["image_id"]: row["cluster_number"] for row in now} == {
        "0x": 0, "0y": 0, "1x": 0, "2y": 0, "new": 0, "2x": 3,
    }  # fmt: skip
    rules = {row["image_id"]: msgspec.json.decode(row["metadata"])["rule"] for row in now}
    assert (rules["2y"], rules["2x"], rules["0x"]) == ("merged", "joined", "joined")
    answer = await latest(pool, "101")
    assert [each.id for each in answer.clusters] == ["101-cluster-0", "101-cluster-3"]
    ended = await pool.fetch(
        "SELECT cluster_number, merged_into, until_version FROM cluster_summaries"
        " WHERE pet_id = '101' AND until_version IS NOT NULL ORDER BY cluster_number"
    )
    assert [tuple(row) for row in ended] == [(0, None, 2), (1, 0, 2), (2, 1, 2)]
    heroes = await pool.fetch("SELECT image_id FROM cluster_heroes WHERE until_version IS NULL ORDER BY image_id")
    assert [row["image_id"] for row in heroes] == ["0x", "2x"]


async def test_heroes_that_go_on_keep_their_row_and_others_are_replaced(pool: Any) -> None:
    await apply(
        pool,
        version("101", 1, (member("a", 0), member("b", 0), member("c", 0)), (cluster(0, 3, "a", "b"),)),
        version("101", 2, (member("d", 0),), (cluster(0, 4, "a", "c"),)),
        version("101", 3, (member("e", 0),), (cluster(0, 5, "c", "a"),)),
    )
    rows = await pool.fetch(
        "SELECT image_id, rank, since_version, until_version FROM cluster_heroes ORDER BY since_version, rank"
    )
    assert [tuple(row) for row in rows] == [
        ("a", 1, 1, 3),
        ("b", 2, 1, 2),
        ("c", 2, 2, 3),
        ("c", 1, 3, None),
        ("a", 2, 3, None),
    ]
    answer = await latest(pool, "101")
    assert answer.clusters[0].heroes == (AnswerHero("c", 1, 0.9), AnswerHero("a", 2, 0.8))


async def test_a_member_keeps_what_is_known_of_its_image(pool: Any) -> None:
    change = member(
        "a", 0, 0.75, quality=0.5, phash=2**64 - 1, width=640, height=480, taken_at="2026-01-02T03:04:05",
        runner_up=4, runner_up_score=0.6,
    )  # fmt: skip
    await apply(pool, version("101", 1, (change,), (cluster(0, 1, "a"),)))
    row = await pool.fetchrow("SELECT score, distance, metadata FROM cluster_members")
    assert (row["score"], row["distance"]) == (0.75, 0.25)
    assert msgspec.json.decode(row["metadata"]) == {
        "quality": 0.5, "phash": "ffffffffffffffff", "width": 640, "height": 480, "taken_at": "2026-01-02T03:04:05",
        "rule": "joined", "runner_up": 4, "runner_up_score": 0.6,
    }  # fmt: skip


async def test_text_that_postgres_cannot_hold_is_mended(pool: Any) -> None:
    change = member("a", 0, taken_at="2026\x00")
    await apply(pool, version("101", 1, (change,), (cluster(0, 1, "a", label="Rex\x00!"),), coverage={"x\x00": 1.0}))
    answer = await latest(pool, "101")
    assert answer.clusters[0].label == "Rex\N{REPLACEMENT CHARACTER}!"
    assert answer.metrics.coverage == {"x\N{REPLACEMENT CHARACTER}": 1.0}


@pytest.mark.parametrize("seed", range(4))
async def test_any_history_reads_as_it_was_at_each_version(pool: Any, seed: int) -> None:
    """A random album with merges, moves and removals: now and at each version, the rows say what the model said."""
    album, then, expected = Album("101", seed=seed), {}, {}
    for number in range(1, 31):
        assert await apply(pool, album.draw()) == [Applied(number)]
        then[number], expected[number] = await latest(pool, "101"), (album.expected(), dict(album.labels))
    for number, answer in then.items():
        assert await read_at(pool, "101", number) == answer
        places, labels = expected[number]
        shown = {int(each.id.rpartition("-")[2]): each for each in answer.clusters}
        assert {n: each.label for n, each in shown.items()} == labels
        for n, each in shown.items():
            assert [m.image_id for m in each.members] == places[n][:3]
            assert [m.position for m in each.members] == list(range(len(each.members)))
            assert each.member_count == len(places[n])
            assert each.hero_image_id == places[n][0]
        assert sorted(answer.unclustered) == sorted(places.get(-1, []))


async def test_a_job_writes_what_changed_not_the_album(pool: Any) -> None:
    await apply(pool, version("101", 1, tuple(member(f"i{n}", 0) for n in range(300)), (cluster(0, 300, "i0"),)))
    before = await everything(pool, "101")
    await apply(pool, version("101", 2, (member("new", 0),), (cluster(0, 301, "i0"),)))
    written = [len(set(after) - set(rows)) for rows, after in zip(before, await everything(pool, "101"), strict=True)]
    # A version, a member, the cluster's summary twice (ended, begun); the hero goes on.
    assert written == [1, 1, 2, 0]


async def test_a_snapshot_now_and_then_holds_the_whole_answer(pool: Any, reader: ClusterReader) -> None:
    album = Album("101", seed=9)
    await apply(pool, *(album.draw() for _ in range(SNAPSHOT_EVERY + 1)))
    rows = await pool.fetch("SELECT version, codec, payload FROM cluster_snapshots WHERE pet_id = '101'")
    assert [(row["version"], row["codec"]) for row in rows] == [(SNAPSHOT_EVERY, SNAPSHOT_CODEC)]
    kept = msgspec.json.decode(zlib.decompress(rows[0]["payload"]), type=ClusterAnswer)
    assert kept == await reader.answer_at("101", SNAPSHOT_EVERY)


async def test_only_the_newest_thousand_unclustered_are_listed(pool: Any) -> None:
    names = tuple(member(f"i{n:04d}", -1) for n in range(1001))
    await apply(
        pool,
        version("101", 1, names, unclustered_count=1001),
        version("101", 2, (member("new", -1),), unclustered_count=1002),
    )
    answer = await latest(pool, "101")
    assert (len(answer.unclustered), answer.unclustered[:2], answer.unclustered_count) == (1000, ("new", "i0000"), 1002)


def test_merges_in_a_circle_are_refused() -> None:
    with pytest.raises(InvalidInput, match="merged_into"):
        merge_targets([cluster(0, 0, merged_into=1), cluster(1, 0, merged_into=0)])


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("pet_id", version("a/b", 1)),
        ("image_id", version("101", 1, (member("a b", 0),))),
        ("version", version("101", -1)),
        ("image_count", version("101", 1, image_count=2**31)),
        ("time", version("101", 1, time="yesterday")),
    ],
)
async def test_a_value_without_a_column_is_refused_by_name(pool: Any, field: str, wrong: PetVersion) -> None:
    with pytest.raises(InvalidInput, match=field):
        await apply(pool, wrong)
    assert await pool.fetchval("SELECT count(*) FROM pet_clusters") == 0


async def test_a_hero_has_the_parts_of_its_score_when_they_were_recorded(pool: Any) -> None:
    parts = [{"sharpness": 0.5, "closeness": 0.75, "evenness": 1.0}, {"sharpness": 0.5, "closeness": 0.25}]
    both = (member("a", 0), member("b", 0))

    def heroes(*given: Hero) -> tuple[ClusterChange, ...]:
        return (ClusterChange(0, "Cluster 0", 2, 0.8, given),)

    await apply(
        pool,
        version("101", 1, both, heroes(GroupedHero("a", 0.5, parts[0]), Hero("b", 0.25))),
        version("101", 2, (), heroes(GroupedHero("a", 0.5, parts[0]), Hero("b", 0.25))),
        version("101", 3, (), heroes(GroupedHero("a", 0.5, parts[1]), Hero("b", 0.25))),
    )
    before, now = await read_at(pool, "101", 2), await latest(pool, "101")
    assert before is not None
    first = AnswerHero("a", 1, 0.5, {"closeness": 0.75, "evenness": 1.0, "sharpness": 0.5})
    assert before.clusters[0].heroes == (first, AnswerHero("b", 2, 0.25))
    assert now.clusters[0].heroes[0].parts == parts[1]
    sent = encode_answer(before)
    assert b'{"image_id":"a","rank":1,"score":0.5,"parts":{"closeness":0.75,"evenness":1.0,"sharpness":0.5}}' in sent
    assert b'{"image_id":"b","rank":2,"score":0.25}' in sent, "as callers have always got it"
    since = await pool.fetch("SELECT since_version FROM cluster_heroes WHERE pet_id = '101' ORDER BY rank, 1")
    assert [row["since_version"] for row in since] == [1, 3, 1], "parts alone are a change"
