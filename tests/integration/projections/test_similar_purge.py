"""Removed photos and purged pets in the similarity index: nothing of them is found, and nothing is left."""

from __future__ import annotations

import msgspec
import pytest

from projections.missing import Missing
from projections.similar.search import SimilarReader
from schemas.errors import StopProcess
from schemas.facts import ImagesRemoved
from schemas.pet_keys import Destroyed, PetKey
from schemas.versions import ClusterChange, MemberChange, PetVersion
from tests.albums import MODEL, Directions
from tests.integration.projections.similar_samples import TEN
from tests.integration.similar_world import TIME, SimilarWorld, burst


async def test_a_member_that_has_ended_is_not_found_and_its_vector_goes(
    world: SimilarWorld, nearest: SimilarReader
) -> None:
    directions = Directions(8)
    shared = directions.new()
    for pet in ("a", "b"):
        last = await world.embed(pet, burst(directions, shared, "one", "two", "three"))
    assert last is not None
    await world.index()
    gone = PetVersion(
        pet_id="b", version=last.version + 1, time=TIME, partition=last.partition, offset=last.offset, job_id="j",
        model=MODEL, policy_id="p", max_cluster_size=24, cluster_count=1, image_count=2, unclustered_count=0,
        members=(MemberChange("two", -1, 0.0, "removed"),), clusters=(ClusterChange(0, "C", 2, 0.5),),
    )  # fmt: skip
    await world.project(gone)
    found = await nearest.of_image("a", "one", TEN)
    assert sorted(photo.image_id for photo in found.photos or []) == ["one", "three"], "before the index has heard"
    await world.send(gone)
    await world.index()
    assert await world.photos("b") == ["one", "three"]
    with pytest.raises(Missing, match="image"):
        await nearest.of_image("b", "two", TEN)


async def test_a_fact_that_removes_images_takes_their_vectors_of_before(world: SimilarWorld) -> None:
    directions = Directions(8)
    photos = burst(directions, directions.new(), "one", "two")
    await world.embed("a", photos)
    await world.publish("a", ImagesRemoved(request_id="r", image_ids=("one", "two")))
    await world.embed("a", {"two": photos["two"]}, force=True)
    await world.index()
    assert await world.photos("a") == ["two"]


async def test_a_purge_leaves_nothing_and_what_comes_behind_it_stays(
    world: SimilarWorld, nearest: SimilarReader
) -> None:
    directions = Directions(9)
    shared = directions.new()
    for pet in ("a", "b"):
        await world.embed(pet, burst(directions, shared, "one", "two"), enqueued_at="2026-11-21T07:00:00+00:00")
    await world.index()
    await world.purge("b")
    assert (await nearest.of_image("a", "one", TEN)).photos == [], "the rows are gone at once"
    await world.index()
    assert (await world.photos("b"), await world.directions("b")) == ([], {})
    await world.embed("b", burst(directions, shared, "late"), enqueued_at="2026-11-21T07:59:00+00:00")
    await world.index()
    assert await world.photos("b") == [], "its job was accepted before the purge"
    await world.embed("b", burst(directions, shared, "new", "newer"), enqueued_at="2026-11-21T08:01:00+00:00")
    await world.index()
    assert (await world.photos("b"), sorted(await world.directions("b"))) == (["new", "newer"], [1])
    found = await nearest.of_image("a", "one", TEN)
    assert sorted(photo.image_id for photo in found.photos or []) == ["new", "newer"]


async def test_the_receipt_counts_the_index_also_while_nobody_keeps_it(world: SimilarWorld) -> None:
    directions = Directions(9)
    await world.embed("a", burst(directions, directions.new(), "one", "two"))
    await world.index()
    await world.purge("a")  # no round behind it: the index is off
    removed = msgspec.json.decode(await world.pool.fetchval("SELECT removed FROM pet_purges"))["postgres"]
    model = await world.model()
    assert (removed[model.photos], removed[model.clusters]) == (2, 1)
    assert (await world.photos("a"), await world.directions("a")) == ([], {})


async def test_an_index_that_comes_late_reads_a_purged_pets_facts_and_keeps_none(world: SimilarWorld) -> None:
    """It reads facts of before the purge, some of which nobody can open any more."""
    directions = Directions(9)
    shared = directions.new()
    await world.embed("b", burst(directions, shared, "one", "two"))
    world.keys.known["k1"] = PetKey(key_id="k1", pet_id="b", created_at=TIME, secret=bytes(range(32)))
    await world.embed("b", burst(directions, shared, "three"))
    await world.embed("a", burst(directions, shared, "one"))
    await world.purge("b")
    end = Destroyed(purge_id="p", last_version=2, next_cluster=1)
    world.keys.known["k1"] = msgspec.structs.replace(world.keys.known["k1"], secret=b"", destroyed=end)
    await world.index()
    assert (await world.photos("b"), await world.photos("a")) == ([], ["one"])


async def test_sealed_vectors_are_opened_with_the_pets_key_and_a_lost_key_stops_it(world: SimilarWorld) -> None:
    world.keys.known["k1"] = PetKey(key_id="k1", pet_id="a", created_at=TIME, secret=bytes(range(32)))
    directions = Directions(9)
    await world.embed("a", burst(directions, directions.new(), "one", "two"))
    await world.index()
    assert await world.photos("a") == ["one", "two"]
    await world.embed("a", burst(directions, directions.new(), "three"))
    del world.keys.known["k1"]
    with pytest.raises(StopProcess, match="key k1"):
        await world.index()
    assert await world.photos("a") == ["one", "two"]
