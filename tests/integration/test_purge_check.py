"""The check of a purge: nothing is left of a pet that lives again, and each kind of leftover is found."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from app.local.kafka import KafkaServer
from app.purges.check import Checked, check
from app.settings import Settings
from projections.pool import create_pool
from schemas.commands import EMBED_IMAGES_TYPE, PURGE_PET_TYPE, EmbedImages
from schemas.topics import Topics
from tests.integration.app_command import run_app
from tests.integration.projections.letters import action_on
from tests.integration.projections.purge_samples import PET, asked, command, project
from tests.integration.purge_world import (
    LAST_VERSION,
    NEW,
    OLD,
    PURGE_OFFSET,
    World,
    decision,
    entry_id,
    fact,
    head,
    live,
    make_changelogs,
    removal,
    settings_of,
)


@pytest.fixture
def environment(
    kafka: KafkaServer, topics: Topics, migrated_url: str, redis_url: str, tmp_path: Path
) -> dict[str, str]:
    return settings_of(kafka.bootstrap_servers, topics.prefix, migrated_url, redis_url, tmp_path / "state")


@pytest.fixture
async def world(environment: dict[str, str]) -> AsyncIterator[World]:
    settings = Settings(**{name.lower(): value for name, value in environment.items()})  # type: ignore[arg-type]
    redis: Any = Redis.from_url(environment["REDIS_URL"])
    async with create_pool(
        environment["DATABASE_URL"], size=4, statement_timeout_ms=20_000, ssl_mode="disable"
    ) as pool:
        await make_changelogs(settings)
        yield World(settings, pool, redis)
    await redis.aclose()


async def look(world: World) -> Checked:
    return await check(world.settings, world.pool, world.redis, PET)


def places(checked: Checked, verdict: str, prefix: str) -> list[str]:
    return [each.place.removeprefix(prefix) for each in checked.findings if each.verdict == verdict]


async def test_nothing_is_left_of_a_pet_that_lives_again(world: World, environment: dict[str, str]) -> None:
    names = ((command(), EMBED_IMAGES_TYPE, 100), (command(seconds=600), EMBED_IMAGES_TYPE, 600))
    world.others = [("media.jobs", msgspec.json.encode(each), seconds, kind) for each, kind, seconds in names]
    world.others.append(("media.jobs", msgspec.json.encode(asked()), 500, PURGE_PET_TYPE))
    await world.write()
    await project(world.pool, command("job_7", 600))
    await world.redis.xadd("streams:media.cluster", {"pet_id": PET, "job_id": "j"}, id=entry_id(100))
    await world.redis.xadd("streams:media.cluster", {"pet_id": PET, "job_id": "j"}, id=entry_id(600))
    await world.redis.delete("streams:media.cluster.deadletter")
    checked = await look(world)
    assert checked.clean, checked.findings
    # What goes by itself is told: a command, one entry, and what compaction has yet to remove.
    told = {each.place.removeprefix(world.settings.kafka_topic_prefix): each.what for each in checked.findings}
    assert told["media.jobs"].startswith("1 records with image ids in the clear, the last until 2026-11-28")
    assert told["Redis streams:media.cluster"] == "1 entries, until the stream is trimmed"
    assert told["media.pet-keys"].startswith(f"1 older records of key {OLD} with its secret")
    assert told["media.clusters.updated"].startswith("1 older snapshots")
    assert {each.verdict for each in checked.findings} == {"until"}

    done = run_app(world.settings.data_dir, "purge", "--check", PET, "--json", **environment)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["clean"], said["purge_id"], len(said["findings"])) == (True, "purge-1", len(checked.findings))


async def test_an_unknown_pet_was_not_purged(world: World, environment: dict[str, str]) -> None:
    await world.write()
    done = run_app(world.settings.data_dir, "purge", "--check", "999", **environment)
    assert (done.returncode, done.stdout) == (1, "the log tells of no purge of 999\n")


Plant = Callable[[World], None]


def in_the_clear(world: World) -> None:
    world.log[1] = (fact("c"), None, 200)


def a_removal_in_the_clear(world: World) -> None:
    world.log[3] = (removal(), None, 400)


def a_decision_in_the_clear(world: World) -> None:
    world.log[1] = (decision(), None, 200)


def a_decision_under_a_key_that_the_purge_did_not_name(world: World) -> None:
    world.log[1] = (decision(), live(NEW), 200)


def a_key_that_was_not_destroyed(world: World) -> None:
    world.keys = [live(OLD), live(NEW)]


def a_fact_under_a_key_that_the_purge_did_not_name(world: World) -> None:
    world.log[2] = (fact("d"), live(NEW), 300)


def a_key_that_is_missing(world: World) -> None:
    world.keys = [live(NEW)]


def no_tombstone(world: World) -> None:
    world.updated = [b'{"version":64}', b'{"version":65}']


def an_image_row(world: World) -> None:
    world.fold[f"{PET}/i/0".encode()] = b"vectors"


def a_component_row(world: World) -> None:
    old = head((str(PURGE_OFFSET), fact("a", "b")))
    world.fold[f"{PET}/c/{PURGE_OFFSET}".encode()] = old[f"{PET}/c/{PURGE_OFFSET}".encode()]


def a_head_of_before(world: World) -> None:
    world.fold[f"{PET}/h".encode()] = head(("0", fact("a", "b")))[f"{PET}/h".encode()]


def a_row_that_nobody_knows(world: World) -> None:
    world.fold[f"{PET}/z/9".encode()] = b"of a later release"


def a_remembered_image(world: World) -> None:
    world.embed[f"{PET}/a".encode()] = b"known"


def a_requeue(world: World) -> None:
    images = EmbedImages(pet_id=PET, job_id="job_1", image_ids=("a",))
    action = action_on("requeue", "a", command=images)
    world.others = [("media.deadletter.actions", msgspec.json.encode(action), 100, "")]


@pytest.mark.parametrize(
    ("plant", "place"),
    [
        (in_the_clear, "media.pet-log"),
        (a_removal_in_the_clear, "media.pet-log"),
        (a_decision_in_the_clear, "media.pet-log"),
        (a_key_that_was_not_destroyed, "media.pet-log media.pet-keys"),
        (a_fact_under_a_key_that_the_purge_did_not_name, "media.pet-log media.pet-keys"),
        (a_decision_under_a_key_that_the_purge_did_not_name, "media.pet-log media.pet-keys"),
        (a_key_that_is_missing, "media.pet-keys"),
        (no_tombstone, "media.clusters.updated"),
        (an_image_row, "media-fold-pets-changelog pets-0.db"),
        (a_component_row, "media-fold-pets-changelog pets-0.db"),
        (a_head_of_before, "media-fold-pets-changelog pets-0.db"),
        (a_row_that_nobody_knows, "media-fold-pets-changelog pets-0.db"),
        (a_remembered_image, "media-embed-known-images-changelog known-images-0.db"),
        (a_requeue, "media.deadletter.actions"),
    ],
)
async def test_what_is_left_in_topics_and_table_files_is_found(world: World, plant: Plant, place: str) -> None:
    plant(world)
    await world.write()
    checked = await look(world)
    prefix = world.settings.kafka_topic_prefix
    assert not checked.clean
    found = [each.rpartition("/")[2] for each in places(checked, "left", prefix)]
    assert sorted(found) == sorted(place.split()), checked.findings


async def a_later_table(world: World) -> None:
    await world.pool.execute("CREATE SCHEMA later CREATE TABLE notes (pet_id text, note text)")
    await world.pool.execute("INSERT INTO later.notes VALUES ($1, 'a name')", PET)


async def a_member(world: World) -> None:
    await world.pool.execute(
        "INSERT INTO cluster_summaries (pet_id, cluster_number, since_version, label, member_count, tightness)"
        " VALUES ($1, 0, $2, 'Rex', 1, 1)",
        PET,
        LAST_VERSION,
    )


async def a_job(world: World) -> None:
    await world.pool.execute("UPDATE pet_purges SET purged_at = NULL")
    await project(world.pool, command())
    await world.pool.execute("UPDATE pet_purges SET purged_at = now()")


async def no_receipt(world: World) -> None:
    await world.pool.execute("DELETE FROM pet_purges")


async def an_old_answer(world: World) -> None:
    await world.redis.set(world.cache.key(PET), b'{"clusters":[],"generation":1,"version":65}')


async def another_services_answer(world: World) -> None:
    await world.redis.set(world.cache.key(PET), b'{"clusters":[]}')


async def another_key(world: World) -> None:
    await world.redis.set(f"somewhere:{PET}", b"x")


@pytest.mark.parametrize(
    ("plant", "place"),
    [
        (a_later_table, "Postgres later.notes"),
        (a_member, "Postgres public.cluster_summaries"),
        (a_job, "Postgres public.cluster_jobs"),
        (no_receipt, "Postgres pet_purges"),
        (an_old_answer, f"Redis test.clusters:state:{PET}"),
        (another_services_answer, f"Redis test.clusters:state:{PET}"),
        (another_key, f"Redis somewhere:{PET}"),
    ],
)
async def test_what_is_left_in_the_stores_is_found(
    world: World, plant: Callable[[World], Awaitable[None]], place: str
) -> None:
    await world.write()
    await plant(world)
    checked = await look(world)
    assert places(checked, "left", "") == [place], checked.findings


async def test_a_broken_or_absent_table_file_is_told_and_is_no_leftover(world: World) -> None:
    await world.write()
    folder = world.settings.data_dir / "worker-1" / "v1" / "tables" / "pets-0.db"
    (folder / "CURRENT").write_text("nonsense")
    checked = await look(world)
    assert checked.clean
    assert [place.rpartition("/")[2] for place in places(checked, "unseen", "")] == ["pets-0.db"]
