"""The search across pets over a real index: nearest are nearest, nothing of the own pet, filters, what is missing."""

from __future__ import annotations

from typing import Any

import pytest

from projections.missing import Missing
from projections.pool import create_pool
from projections.similar import graphs
from projections.similar.search import Ask, NotIndexed, SimilarReader
from tables.vectors import dequantize
from tests.albums import MODEL, Directions
from tests.integration.projections.similar_samples import TEN, cosine, several
from tests.integration.similar_world import SimilarWorld, burst


async def test_nearest_photos_are_the_nearest_of_all_other_pets_by_an_exact_count(
    world: SimilarWorld, nearest: SimilarReader
) -> None:
    every = await several(world)
    target = every["pet-1", "s1"]
    found = await nearest.of_image("pet-1", "s1", Ask(limit=12))
    others = [(cosine(target, vector), *name) for name, vector in every.items() if name[0] != "pet-1"]
    expected = sorted(others, key=lambda each: (-each[0], *each[1:]))[:12]
    assert found.photos is not None
    assert [(photo.pet_id, photo.image_id) for photo in found.photos] == [each[1:] for each in expected]
    assert [photo.cosine for photo in found.photos] == pytest.approx([each[0] for each in expected], abs=1e-5)
    assert found.model == MODEL
    assert {photo.cluster for photo in found.photos if photo.image_id[0] == "s"} == {
        f"pet-{number}-cluster-0" for number in (0, 2, 3, 4, 5)
    }


async def test_nearest_clusters_go_by_the_mean_of_their_members(world: SimilarWorld, nearest: SimilarReader) -> None:
    every = await several(world)
    means = {
        (f"pet-{n}", kind): sum(
            dequantize(v) for (pet, name), v in every.items() if (pet, name[0]) == (f"pet-{n}", kind)
        )
        for n in range(6)
        for kind in "so"
    }
    directions = await world.directions("pet-2")
    assert {number: count for number, (count, _) in directions.items()} == {0: 3, 1: 2}
    assert cosine(directions[0][1], means["pet-2", "s"]) == pytest.approx(1, abs=1e-5)
    found = await nearest.of_cluster("pet-2", 0, TEN)
    assert found.clusters is not None
    mine = means["pet-2", "s"]
    others = sorted((cosine(mine, mean) for (pet, _), mean in means.items() if pet != "pet-2"), reverse=True)
    assert [each.cosine for each in found.clusters] == pytest.approx(others, abs=1e-3)
    first = found.clusters[:5]
    assert {each.cluster for each in first} == {f"{each.pet_id}-cluster-0" for each in first}
    assert {each.member_count for each in first} == {3}
    assert {each.hero_image_id for each in first} <= {"s0", "s1", "s2"}
    assert {each.label for each in first} == {"Cluster 0"}
    assert found.photos is not None
    assert {photo.image_id[0] for photo in found.photos} == {"s"}


async def test_limit_least_cosine_kinds_and_pets_are_filtered(world: SimilarWorld, nearest: SimilarReader) -> None:
    await several(world)
    every = await nearest.of_image("pet-0", "s0", Ask(limit=100))
    assert every.photos is not None
    assert len(every.photos) == 30
    assert {photo.pet_id for photo in every.photos} == {f"pet-{n}" for n in range(1, 6)}, "never the own pet"
    least = every.photos[3].cosine
    some = await nearest.of_image("pet-0", "s0", Ask(limit=100, min_cosine=least - 1e-6))
    assert some.photos == every.photos[:4]
    few = await nearest.of_image("pet-0", "s0", Ask(limit=2, kinds=frozenset({"photos"})))
    assert (few.photos, few.clusters) == (every.photos[:2], None)
    only = await nearest.of_image(
        "pet-0", "s0", Ask(limit=100, kinds=frozenset({"clusters"}), exclude=("pet-1", "pet-2"))
    )
    assert only.photos is None
    assert only.clusters is not None
    assert {each.pet_id for each in only.clusters} == {"pet-3", "pet-4", "pet-5"}


async def test_a_filter_that_drops_many_leaves_the_nearest_of_the_rest(world: SimilarWorld, migrated_url: str) -> None:
    """The own pet has more photos nearer than any other pet's than a search of the graph keeps in view."""
    directions = Directions(3)
    mine = directions.new()
    for start in range(0, 600, 60):
        await world.embed("mine", burst(directions, mine, *(f"m{n}" for n in range(start, start + 60)), spread=0.05))
    others = {f"other-{n}": directions.near(mine, 1.5) for n in range(40)}
    for pet, vector in others.items():
        await world.embed(pet, {"a": vector})
    target = directions.near(mine, 0.05)
    await world.embed("mine", {"target": target})
    await world.index()
    table = (await world.model()).photos
    async with world.pool.acquire() as connection:
        assert await graphs.build_missing(connection, from_rows=100) == [f"{table}_nearest"]
        assert await graphs.build_missing(connection, from_rows=100) == [], "it stands"
        # So few rows would be read one by one.
        database = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {database} SET enable_seqscan = off")
        await connection.execute(f"ALTER DATABASE {database} SET enable_sort = off")
        await connection.execute("UPDATE pet_clusters SET image_count = 1")  # else all of them would be kept in view
    async with create_pool(migrated_url, size=1, statement_timeout_ms=20_000, ssl_mode="disable") as pool:
        async with pool.acquire() as connection:
            plan = await explain(connection, "nearest_similar_photos", await world.model())
            assert f"Index Scan using {table}_nearest" in plan
        found = await SimilarReader(pool, candidates=100).of_image("mine", "target", TEN)
    assert found.photos is not None
    expected = sorted(others, key=lambda pet: -cosine(target, others[pet]))[:10]
    assert [photo.pet_id for photo in found.photos] == expected


async def explain(connection: Any, name: str, model: Any) -> str:
    vector = "[" + ",".join(["1"] * model.dimension) + "]"
    rows = await connection.fetch("EXPLAIN " + model.statement(name), ["mine"], 200, -1.0, vector, 10)
    return "\n".join(row[0] for row in rows)


async def test_vectors_of_two_models_are_never_compared(world: SimilarWorld, nearest: SimilarReader) -> None:
    directions = Directions(4)
    shared = directions.new()
    for pet in ("a", "b"):
        await world.embed(pet, burst(directions, shared, "one", "two"))
    await world.embed("b", burst(directions, shared, "one", "three"), model="other@2")
    await world.index()
    by_own = await nearest.of_image("a", "one", TEN)
    assert (by_own.model, sorted(photo.image_id for photo in by_own.photos or [])) == (MODEL, ["one", "two"])
    with pytest.raises(NotIndexed, match="not indexed"):
        await nearest.of_image("a", "one", Ask(limit=10, model="other@2"))
    with pytest.raises(NotIndexed, match="no vector of model none@1"):
        await nearest.of_image("a", "one", Ask(limit=10, model="none@1"))


async def test_what_is_not_there_is_told_by_cause(world: SimilarWorld, nearest: SimilarReader) -> None:
    directions = Directions(4)
    await world.embed("a", burst(directions, directions.new(), "one", "two"))
    with pytest.raises(NotIndexed):
        await nearest.of_image("a", "one", TEN)
    await world.index()
    for question, cause in (
        (nearest.of_image("none", "one", TEN), "pet"),
        (nearest.of_image("a", "none", TEN), "image"),
        (nearest.of_cluster("a", 7, TEN), "cluster"),
        (nearest.of_cluster("a", -1, TEN), "cluster"),
    ):
        with pytest.raises(Missing) as told:
            await question
        assert told.value.cause == cause
    alone = await nearest.of_image("a", "one", TEN)
    assert (alone.photos, alone.clusters) == ([], [])
