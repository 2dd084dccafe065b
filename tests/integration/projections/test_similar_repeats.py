"""The similarity index under repeats, crashes, a second index, odd records, and without its extension."""

from __future__ import annotations

from typing import Any

import asyncpg
import msgspec
import pytest

from app.local.kafka import KafkaServer
from projections.similar.models import create_extension, drop_models, need_extension
from projections.similar.search import NotIndexed, SimilarReader
from projections.similar.status import read_status
from projections.similar.telemetry import SimilarMetrics
from schemas.errors import StopProcess
from schemas.topics import Topics
from tests.albums import Directions, embedded, image
from tests.integration.projections.rig import Counted
from tests.integration.projections.samples import eventually
from tests.integration.projections.similar_samples import TEN, several
from tests.integration.similar_world import SimilarWorld, burst, similar_world


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


async def test_made_anew_from_the_log_it_is_the_same(world: SimilarWorld, nearest: SimilarReader) -> None:
    await several(world, pets=4)
    before = await nearest.of_cluster("pet-1", 0, TEN)
    indexer = world.indexer()
    await world.index(indexer)
    async with world.pool.acquire() as connection:
        async with connection.transaction():
            assert await drop_models(connection) == 1
        assert (await read_status(connection)).models == []
    with pytest.raises(NotIndexed):
        await nearest.of_cluster("pet-1", 0, TEN)
    await world.index(indexer)
    await indexer._disconnect()
    assert await nearest.of_cluster("pet-1", 0, TEN) == before
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
