"""Clusters' directions: when they are made anew, when a pet is looked at, and what a rebuild of the rows does."""

from __future__ import annotations

import asyncio

import pytest

from projections.missing import MergedAway
from projections.similar.search import SimilarReader
from projections.similar.telemetry import SimilarMetrics
from schemas.versions import ClusterChange, PetVersion
from tests.albums import MODEL, Directions
from tests.integration.projections.rig import Counted
from tests.integration.projections.similar_samples import TEN
from tests.integration.similar_world import TIME, SimilarWorld, burst


async def test_a_direction_is_made_anew_when_an_eighth_has_changed(world: SimilarWorld) -> None:
    directions, renewed = Directions(5), Counted()
    direction = directions.new()
    indexer = world.indexer(metrics=SimilarMetrics(directions=renewed))
    await world.embed("a", burst(directions, direction, *(f"m{n:02}" for n in range(20))))
    await world.index(indexer)
    assert ({n: count for n, (count, _) in (await world.directions("a")).items()}, renewed.value) == ({0: 20}, 1)
    for number in (20, 21):
        await world.embed("a", burst(directions, direction, f"m{number}"))
        await world.index(indexer)
        assert renewed.value == 1, "one or two of twenty are less than an eighth"
    await world.embed("a", burst(directions, direction, "m22"))
    await world.index(indexer)
    assert ({n: count for n, (count, _) in (await world.directions("a")).items()}, renewed.value) == ({0: 23}, 2)
    await indexer._disconnect()


async def test_a_merged_cluster_has_no_direction_and_its_successor_gets_a_new_one(
    world: SimilarWorld, nearest: SimilarReader
) -> None:
    directions = Directions(6)
    left, right = directions.new(), directions.new()
    await world.embed("a", {**burst(directions, left, *"abcdefgh"), **burst(directions, right, *"ijklmnop")})
    last = await world.embed("a", burst(directions, left, "q"))
    assert last is not None
    await world.index()
    assert sorted(await world.directions("a")) == [0, 1]
    merged = PetVersion(
        pet_id="a", version=last.version + 1, time=TIME, partition=last.partition, offset=last.offset, job_id="j",
        model=MODEL, policy_id="p", max_cluster_size=24, cluster_count=1, image_count=17, unclustered_count=0,
        members=(), clusters=(ClusterChange(0, "Both", 17, 0.5), ClusterChange(1, "", 0, 0.0, merged_into=0)),
    )  # fmt: skip
    await world.send(merged)
    await world.project(merged)
    await world.index()
    assert {n: count for n, (count, _) in (await world.directions("a")).items()} == {0: 17}
    with pytest.raises(MergedAway) as gone:
        await nearest.of_cluster("a", 1, TEN)
    assert gone.value.heir == "a-cluster-0"


async def test_a_pet_is_looked_at_once_its_rows_and_its_vectors_are_there(world: SimilarWorld) -> None:
    """The projector is behind: the version was told, but its rows are not there."""
    directions = Directions(6)
    await world.embed("a", burst(directions, directions.new(), "one", "two"))
    version = await world.embed("a", burst(directions, directions.new(), "three", "four"), project=False)
    assert version is not None
    async with asyncio.timeout(30):
        await world.index()
    assert await world.directions("a") == {}
    await world.project(version)
    await world.index()
    assert sorted(await world.directions("a")) == [0, 1]


async def test_rows_that_a_rebuild_has_replaced_are_looked_at_whole(world: SimilarWorld) -> None:
    directions, renewed = Directions(6), Counted()
    for pet in ("a", "b"):
        await world.embed(pet, burst(directions, directions.new(), "one", "two"))
    indexer = world.indexer(metrics=SimilarMetrics(directions=renewed))
    await world.index(indexer)
    await world.index(indexer)
    assert renewed.value == 2
    await world.pool.execute("UPDATE projection_generations SET generation = generation + 1 WHERE projection = 'live'")
    # The rows of the cured fold: the cluster has another number, and one image is in no album.
    await world.pool.execute("UPDATE cluster_members SET cluster_number = 5 WHERE pet_id = 'a'")
    await world.pool.execute("UPDATE cluster_summaries SET cluster_number = 5 WHERE pet_id = 'a'")
    await world.pool.execute("DELETE FROM cluster_members WHERE pet_id = 'b' AND image_id = 'two'")
    await world.index(indexer)
    await indexer._disconnect()
    assert (sorted(await world.directions("a")), renewed.value) == ([5], 4)
    assert (await world.photos("a"), await world.photos("b")) == (["one", "two"], ["one"])
