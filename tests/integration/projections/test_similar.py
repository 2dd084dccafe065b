"""The similarity index over a real log, versions and Postgres: nearest are nearest, nothing of the own pet, filters,
removals, purges, repeats and crashes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgspec
import numpy as np
import pytest

from app.local.kafka import KafkaServer
from projections.missing import MergedAway, Missing
from projections.similar import graphs, search
from projections.similar.models import create_extension, drop_models, need_extension
from projections.similar.search import Ask, NotIndexed, SimilarReader
from projections.similar.status import read_status
from projections.similar.telemetry import SimilarMetrics
from schemas.errors import StopProcess
from schemas.facts import ImagesRemoved
from schemas.pet_keys import Destroyed, PetKey
from schemas.topics import Topics
from schemas.versions import ClusterChange, MemberChange, PetVersion
from tables.vectors import dequantize
from tests.albums import MODEL, Directions, embedded, image
from tests.integration.projections.rig import Counted
from tests.integration.projections.samples import eventually
from tests.integration.similar_world import TIME, SimilarWorld, burst, similar_world

TEN = Ask(limit=10)


@pytest.fixture
async def world(kafka: KafkaServer, topics: Topics, pool: Any, migrated_url: str) -> AsyncIterator[SimilarWorld]:
    async with similar_world(kafka.bootstrap_servers, topics, pool, migrated_url) as opened:
        yield opened


@pytest.fixture
def reader(pool: Any) -> SimilarReader:
    return SimilarReader(pool)


def cosine(a: Any, b: Any) -> float:
    """Of two vectors, of the log or as numbers, by numpy."""
    left, right = (dequantize(v) if isinstance(v, bytes) else np.asarray(v) for v in (a, b))
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))


async def several(world: SimilarWorld, pets: int = 6) -> dict[tuple[str, str], bytes]:
    """Pets with two bursts and a loose photo each; all their vectors."""
    directions, every = Directions(7), dict[tuple[str, str], bytes]()
    shared = directions.new()
    for number in range(pets):
        pet = f"pet-{number}"
        photos = {
            **burst(directions, shared, "s0", "s1", "s2", spread=0.4),
            **burst(directions, directions.new(), "o0", "o1"),
            "loose": directions.near(directions.new()),
        }
        every |= {(pet, name): vector for name, vector in photos.items()}
        await world.embed(pet, photos)
    await world.index()
    return every


# ---- nearest


async def test_nearest_photos_are_the_nearest_of_all_other_pets_by_an_exact_count(
    world: SimilarWorld, reader: SimilarReader
) -> None:
    every = await several(world)
    target = every["pet-1", "s1"]
    found = await reader.of_image("pet-1", "s1", Ask(limit=12))
    others = [(cosine(target, vector), *name) for name, vector in every.items() if name[0] != "pet-1"]
    expected = sorted(others, key=lambda each: (-each[0], *each[1:]))[:12]
    assert found.photos is not None
    assert [(photo.pet_id, photo.image_id) for photo in found.photos] == [each[1:] for each in expected]
    assert [photo.cosine for photo in found.photos] == pytest.approx([each[0] for each in expected], abs=1e-5)
    assert found.model == MODEL
    assert {photo.cluster for photo in found.photos if photo.image_id[0] == "s"} == {
        f"pet-{number}-cluster-0" for number in (0, 2, 3, 4, 5)
    }


async def test_nearest_clusters_go_by_the_mean_of_their_members(world: SimilarWorld, reader: SimilarReader) -> None:
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
    found = await reader.of_cluster("pet-2", 0, TEN)
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


async def test_limit_least_cosine_kinds_and_pets_are_filtered(world: SimilarWorld, reader: SimilarReader) -> None:
    await several(world)
    every = await reader.of_image("pet-0", "s0", Ask(limit=100))
    assert every.photos is not None
    assert len(every.photos) == 30
    assert {photo.pet_id for photo in every.photos} == {f"pet-{n}" for n in range(1, 6)}, "never the own pet"
    least = every.photos[3].cosine
    some = await reader.of_image("pet-0", "s0", Ask(limit=100, min_cosine=least - 1e-6))
    assert some.photos == every.photos[:4]
    few = await reader.of_image("pet-0", "s0", Ask(limit=2, kinds=frozenset({"photos"})))
    assert (few.photos, few.clusters) == (every.photos[:2], None)
    only = await reader.of_image(
        "pet-0", "s0", Ask(limit=100, kinds=frozenset({"clusters"}), exclude=("pet-1", "pet-2"))
    )
    assert only.photos is None
    assert only.clusters is not None
    assert {each.pet_id for each in only.clusters} == {"pet-3", "pet-4", "pet-5"}


async def test_a_filter_that_drops_many_leaves_the_nearest_of_the_rest(
    world: SimilarWorld, reader: SimilarReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The own pet has hundreds of photos nearer than any other pet's, more than a search of the graph keeps."""
    monkeypatch.setattr(graphs, "FROM_ROWS", 100)
    directions = Directions(3)
    mine = directions.new()
    for start in range(0, 600, 60):
        await world.embed("mine", burst(directions, mine, *(f"m{n}" for n in range(start, start + 60)), spread=0.05))
    others = {f"other-{n}": directions.near(mine, 1.5) for n in range(40)}
    for pet, vector in others.items():
        await world.embed(pet, {"a": vector})
    await world.index()
    table = (await world.model()).photos
    async with world.pool.acquire() as connection:
        assert await graphs.build_missing(connection, from_rows=100) == [f"{table}_nearest"]
        assert await graphs.build_missing(connection, from_rows=100) == [], "it stands"
        await connection.execute("SET enable_seqscan = off; SET enable_sort = off")
        plan = await explain(connection, "nearest_similar_photos", await world.model())
        assert f"Index Scan using {table}_nearest" in plan
    target = directions.near(mine, 0.05)
    await world.embed("mine", {"target": target})
    await world.index()
    found = await reader.of_image("mine", "target", TEN)
    assert found.photos is not None
    nearest = sorted(others, key=lambda pet: -cosine(target, others[pet]))[:10]
    assert [photo.pet_id for photo in found.photos] == nearest


async def explain(connection: Any, name: str, model: Any) -> str:
    vector = "[" + ",".join(["1"] * model.dimension) + "]"
    rows = await connection.fetch("EXPLAIN " + model.statement(name), ["mine"], 10, -1.0, vector)
    return "\n".join(row[0] for row in rows)


async def test_vectors_of_two_models_are_never_compared(world: SimilarWorld, reader: SimilarReader) -> None:
    directions = Directions(4)
    shared = directions.new()
    for pet in ("a", "b"):
        await world.embed(pet, burst(directions, shared, "one", "two"))
    await world.embed("b", burst(directions, shared, "one", "three"), model="other@2")
    await world.index()
    by_own = await reader.of_image("a", "one", TEN)
    assert (by_own.model, sorted(photo.image_id for photo in by_own.photos or [])) == (MODEL, ["one", "two"])
    with pytest.raises(NotIndexed, match="not indexed"):
        await reader.of_image("a", "one", Ask(limit=10, model="other@2"))
    with pytest.raises(NotIndexed, match="no vector of model none@1"):
        await reader.of_image("a", "one", Ask(limit=10, model="none@1"))


async def test_what_is_not_there_is_told_by_cause(world: SimilarWorld, reader: SimilarReader) -> None:
    directions = Directions(4)
    await world.embed("a", burst(directions, directions.new(), "one", "two"))
    with pytest.raises(NotIndexed):
        await reader.of_image("a", "one", TEN)
    await world.index()
    for question, cause in (
        (reader.of_image("none", "one", TEN), "pet"),
        (reader.of_image("a", "none", TEN), "image"),
        (reader.of_cluster("a", 7, TEN), "cluster"),
        (reader.of_cluster("a", -1, TEN), "cluster"),
    ):
        with pytest.raises(Missing) as told:
            await question
        assert told.value.cause == cause
    alone = await reader.of_image("a", "one", TEN)
    assert (alone.photos, alone.clusters) == ([], [])


# ---- directions


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
    world: SimilarWorld, reader: SimilarReader
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
        await reader.of_cluster("a", 1, TEN)
    assert gone.value.heir == "a-cluster-0"


async def test_a_pet_is_looked_at_once_its_rows_and_its_vectors_are_there(world: SimilarWorld) -> None:
    """The projector is behind: the version was told, but its rows are not there."""
    directions = Directions(6)
    version = await world.embed("a", burst(directions, directions.new(), "one", "two"), project=False)
    assert version is not None
    await world.index()
    assert await world.directions("a") == {}
    await world.project(version)
    await world.index()
    assert sorted(await world.directions("a")) == [0]


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


# ---- removals and purges


async def test_a_member_that_has_ended_is_not_found_and_its_vector_goes(
    world: SimilarWorld, reader: SimilarReader
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
    found = await reader.of_image("a", "one", TEN)
    assert sorted(photo.image_id for photo in found.photos or []) == ["one", "three"], "before the index has heard"
    await world.send(gone)
    await world.index()
    assert await world.photos("b") == ["one", "three"]
    with pytest.raises(Missing, match="image"):
        await reader.of_image("b", "two", TEN)


async def test_a_fact_that_removes_images_takes_their_vectors_of_before(world: SimilarWorld) -> None:
    directions = Directions(8)
    photos = burst(directions, directions.new(), "one", "two")
    await world.embed("a", photos)
    await world.publish("a", ImagesRemoved(request_id="r", image_ids=("one", "two")))
    await world.embed("a", {"two": photos["two"]}, force=True)
    await world.index()
    assert await world.photos("a") == ["two"]


async def test_a_purge_leaves_nothing_and_what_comes_behind_it_stays(
    world: SimilarWorld, reader: SimilarReader
) -> None:
    directions = Directions(9)
    shared = directions.new()
    for pet in ("a", "b"):
        await world.embed(pet, burst(directions, shared, "one", "two"), enqueued_at="2026-11-21T07:00:00+00:00")
    await world.index()
    await world.purge("b")
    assert (await reader.of_image("a", "one", TEN)).photos == [], "the rows are gone at once"
    await world.index()
    assert (await world.photos("b"), await world.directions("b")) == ([], {})
    await world.embed("b", burst(directions, shared, "late"), enqueued_at="2026-11-21T07:59:00+00:00")
    await world.embed("b", burst(directions, shared, "new", "newer"), enqueued_at="2026-11-21T08:01:00+00:00")
    await world.index()
    assert (await world.photos("b"), sorted(await world.directions("b"))) == (["new", "newer"], [1])
    found = await reader.of_image("a", "one", TEN)
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


# ---- repeats and crashes


async def rows(world: SimilarWorld) -> list[Any]:
    """All that the index holds."""
    model = await world.model()
    tables = (model.photos, model.clusters, "similar_pets", "projection_positions", "similar_models")
    return [sorted(map(str, await world.pool.fetch(f"SELECT * FROM {table}"))) for table in tables]


async def test_a_repeat_of_everything_changes_nothing(world: SimilarWorld) -> None:
    await several(world, pets=3)
    before = await rows(world)
    await world.pool.execute("UPDATE projection_positions SET next_offset = 0 WHERE projection = 'similar'")
    await world.index()
    await world.index()
    assert await rows(world) == before


async def test_a_batch_that_is_cut_off_leaves_neither_rows_nor_position(
    world: SimilarWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    directions = Directions(9)
    await world.embed("a", burst(directions, directions.new(), "one", "two"))
    await world.index()
    before = await rows(world)
    await world.embed("a", burst(directions, directions.new(), "three", "four"))
    indexer = world.indexer()
    for step in ("write_facts", "write_versions"):
        written = getattr(__import__("projections.similar.indexer", fromlist=[step]), step)

        async def cut_off(*arguments: Any, written: Any = written) -> int:
            await written(*arguments)
            raise ConnectionResetError("the process ends here")

        with monkeypatch.context() as broken:
            broken.setattr(f"projections.similar.indexer.{step}", cut_off)
            with pytest.raises(ConnectionResetError):
                await indexer.round()
        if step == "write_facts":
            assert await rows(world) == before
            assert await world.photos("a") == ["one", "two"]
    await indexer.round()
    await indexer._disconnect()
    assert await world.photos("a") == ["four", "one", "three", "two"]
    assert sorted(await world.directions("a")) == [0, 1]


async def test_two_indexes_side_by_side_come_to_the_same(world: SimilarWorld) -> None:
    metrics = [SimilarMetrics(errors=Counted()) for _ in range(2)]
    both = [world.indexer(metrics=each) for each in metrics]
    for each in both:
        await each.start()
    directions = Directions(2)
    names = [f"m{n}" for n in range(30)]
    for number, name in enumerate(names):
        await world.embed(f"pet-{number % 5}", burst(directions, directions.new(), name, f"{name}b"))

    async def all_there() -> bool:
        counts = await world.pool.fetchrow(
            "SELECT (SELECT count(*) FROM similar_pets WHERE looked = version) AS looked,"
            " (SELECT count(*) FROM cluster_summaries WHERE until_version IS NULL) AS clusters"
        )
        if counts["looked"] < 5 or counts["clusters"] < 30:
            return False
        model = await world.model()
        return bool(await world.pool.fetchval(f"SELECT count(*) FROM {model.clusters}") == 30)

    await eventually(all_there)
    for each in both:
        await each.stop()
    assert [each.errors.value for each in metrics] == [0, 0]  # type: ignore[attr-defined]
    assert sum([len(await world.photos(f"pet-{n}")) for n in range(5)]) == 60


async def test_made_anew_from_the_log_it_is_the_same(world: SimilarWorld, reader: SimilarReader) -> None:
    await several(world, pets=4)
    before = await reader.of_cluster("pet-1", 0, TEN)
    indexer = world.indexer()
    await world.index(indexer)
    async with world.pool.acquire() as connection:
        async with connection.transaction():
            assert await drop_models(connection) == 1
        assert (await read_status(connection)).models == []
    with pytest.raises(NotIndexed):
        await reader.of_cluster("pet-1", 0, TEN)
    await world.index(indexer)
    await indexer._disconnect()
    assert await reader.of_cluster("pet-1", 0, TEN) == before
    async with world.pool.acquire() as connection:
        status = await read_status(connection)
    assert [(each.photos, each.clusters, each.photos_indexed) for each in status.models] == [(24, 8, False)]
    assert status.due == 0


async def test_vectors_and_records_that_the_fold_refuses_are_passed(world: SimilarWorld) -> None:
    directions = Directions(1)
    good = image("good", directions.near(directions.new()))
    short = msgspec.structs.replace(good, image_id="short", vector=good.vector[:-2])
    long = msgspec.structs.replace(good, image_id="long", vector=b"\xff\x7f" * 64)
    for odd in (short, long):
        await world.publish("a", embedded([good, odd], job_id=odd.image_id))
    log = world.topics.pet_log.name
    await world.producer.send_and_wait(log, b"no fact", key=b"a")
    await world.producer.send_and_wait(world.topics.pet_versions.name, b"no version", key=b"a")
    await world.embed("a", {"good": good.vector})
    await world.index()
    assert await world.photos("a") == ["good"]


async def test_a_log_that_ends_before_the_position_stops_it(world: SimilarWorld) -> None:
    await several(world, pets=1)
    await world.pool.execute("UPDATE projection_positions SET next_offset = 999 WHERE projection = 'similar'")
    with pytest.raises(StopProcess, match="has read up to 999"):
        await world.index()


# ---- the extension


async def test_a_database_without_the_extension_is_told_by_name(
    kafka: KafkaServer, topics: Topics, pool: Any, migrated_url: str
) -> None:
    async with similar_world(kafka.bootstrap_servers, topics, pool, migrated_url) as world:
        await pool.execute("DROP EXTENSION vector")
        with pytest.raises(StopProcess, match="lacks the extension vector"):
            await world.index()


async def test_who_may_not_make_the_extension_is_told_so(migrated_url: str) -> None:
    connection = await asyncpg.connect(migrated_url)
    await connection.execute("CREATE ROLE plain LOGIN")
    try:
        with pytest.raises(StopProcess, match="CREATE EXTENSION vector"):
            await create_extension(migrated_url.replace("postgres@", "plain@"))
    finally:
        await connection.execute("DROP ROLE plain")
    await connection.execute("CREATE EXTENSION vector; UPDATE pg_extension SET extversion = '0.7.4'")
    with pytest.raises(StopProcess, match=r"is 0\.7\.4 in this database, but 0\.8 is needed"):
        await need_extension(connection)
    await connection.close()


def test_a_search_keeps_at_least_as_many_candidates_as_it_may_be_asked_for() -> None:
    assert search.CANDIDATES <= 1000, "pgvector takes no more"
