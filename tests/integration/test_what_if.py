"""Pets of a real log replayed under another policy: what is told is what the fold comes to; nothing is written."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from msgspec.structs import replace
from PIL import Image

from app.local.kafka import KafkaServer
from app.policy.overrides import Overrides
from app.whatif.run import Request
from schemas.codec import encode_fact
from schemas.errors import StopProcess
from schemas.facts import Policy, PolicyChanged
from schemas.pet_keys import encode_key
from schemas.topics import PARTITION_FACTS_KEY, Topics
from tests.integration.generations_rig import TIME, FoldRig, partition_of
from tests.integration.what_if_rig import (
    FIRST_SCENE,
    KEY,
    NOBODY,
    PETS,
    PHOTOS,
    SAME,
    WHAT_IF,
    World,
    agreement,
    facts_of,
    left_in,
    of_step,
    replayed,
    told_of,
)
from tests.unit.test_contact_sheet import read


@pytest.fixture
async def world(kafka: KafkaServer, topics: Topics, tmp_path: Path) -> AsyncIterator[World]:
    rig = FoldRig(kafka.bootstrap_servers, topics, NOBODY, tmp_path)
    await rig.prepare()
    key = {"key": KEY.key_id.encode(), "value": encode_key(KEY), "partition": partition_of(KEY.pet_id)}
    await rig.write(topics.pet_keys.name, key)
    photos = tmp_path / "photos"
    photos.mkdir()
    for pet in PETS:
        await rig.write(topics.pet_log.name, *facts_of(pet))
        for number in set(range(PHOTOS)) - {FIRST_SCENE if pet == "pet-0" else -1}:
            Image.new("RGB", (320, 200), (number * 20, 60, 90)).save(photos / f"{pet}-{number}.jpg")
    yield World(rig, photos)
    await rig.close()


async def test_what_is_told_is_what_the_fold_comes_to_and_nothing_is_written(world: World, tmp_path: Path) -> None:
    before, page = await world.standing(), tmp_path / "page.html"
    lines, _ = await world.command(
        *(f"--policy={name}={value}" for name, value in WHAT_IF.items()), "--html", str(page)
    )
    assert await world.standing() == before
    assert left_in(tmp_path) == {"page.html", "photos", "state", "what-if", "lock"}, "the folds' rows are gone"

    (policy,) = of_step(lines, "policy")
    assert policy["what_if"] == policy["today"] | WHAT_IF
    pets = {line["pet_id"]: line for line in of_step(lines, "pet")}
    assert set(pets) == set(PETS)
    for pet, told in pets.items():
        today, what_if = await world.folded(pet), await world.folded(pet, **WHAT_IF)
        assert set(today.values()) == {f"{pet}-cluster-0"}
        loose = {f"{pet}-{number}" for number in range(FIRST_SCENE, PHOTOS)} if pet != SAME else set()
        assert {photo for photo, cluster in what_if.items() if cluster == ""} == loose, (
            "of the fold, without the command"
        )
        assert told["ari"] == pytest.approx(agreement(today, what_if))
        assert (told["photos"], told["moved"]) == (PHOTOS, len(loose))
        assert (told["clusters_today"], told["clusters_what_if"]) == (1, 1)
        heroes = [(each["hero_today"], each["hero_what_if"]) for each in told["heroes_changed"]]
        assert heroes == ([(f"{pet}-7", f"{pet}-4")] if loose else []), "the best photo of those that are left"
    (totals,) = of_step(lines, "compared")
    sums = ("pets", "pets_differing", "photos", "moved", "clusters_made", "clusters_lost", "heroes_changed")
    assert [totals[name] for name in sums] == [3, 2, 24, 6, 0, 0, 2]
    assert totals["ari"] == pytest.approx(sum(each["ari"] for each in pets.values()) / 3)

    shown = read(page.read_text())
    changed = {f"{pet}-{number}" for pet in PETS if pet != SAME for number in range(PHOTOS)}
    assert {image["alt"] for image in shown.images} == changed - {f"pet-0-{FIRST_SCENE}"}
    assert f"pet-0-{FIRST_SCENE}" in shown.text, "its picture is in no storage"
    assert of_step(lines, "page written") == [{"step": "page written", "file": str(page), "pictures_missing": 1}]


async def test_chosen_pets_alone_are_replayed(world: World) -> None:
    chosen = Request(Overrides(WHAT_IF), pets=frozenset({"pet-0", SAME}))
    lines = await told_of(world, chosen)
    assert [(line["pet_id"], line["moved"]) for line in of_step(lines, "pet")] == [("pet-0", 3), (SAME, 0)]
    (last,) = of_step(lines, "compared")
    assert (last["pets"], last["moved"]) == (2, 3)
    with pytest.raises(StopProcess, match=r"--pet nobody, other: the log has no version of this pet"):
        await told_of(world, dataclasses.replace(chosen, pets=frozenset({"pet-0", "other", "nobody"})))


async def test_a_sample_depends_on_the_pets_alone(world: World) -> None:
    first = sorted(PETS, key=lambda pet: hashlib.sha256(pet.encode()).digest())
    lines = await told_of(world, Request(Overrides(WHAT_IF), sample=2))
    assert {line["pet_id"] for line in of_step(lines, "pet")} == set(first[:2])


async def test_every_recorded_policy_is_overridden_from_where_it_stands(world: World) -> None:
    """The policy changes in the middle: the other engine; what is given is put over both, the rest is of each."""
    other = {"join": 0.83, "merge": 0.83}
    fact = PolicyChanged(policy=Policy(policy_id="second", max_cluster_size=7))
    value = encode_fact(fact, event_id="second", time=TIME, pet_id="")
    number = partition_of("pet-0")
    await world.rig.write(
        world.rig.topics.pet_log.name,
        {"key": PARTITION_FACTS_KEY.encode(), "value": value, "partition": number},
        *facts_of("pet-0", PHOTOS, 4),
    )
    done = await replayed(world, "pet-0", **other)
    assert (done.today, done.what_if) == (fact.policy, replace(fact.policy, **other))
    (found,) = done.differences
    (today, what_if) = await world.folded("pet-0"), await world.folded("pet-0", **other)
    counts = [len(set(side.values()) - {""}) for side in (today, what_if)]
    assert [found.clusters_today, found.clusters_what_if] == counts
    assert counts[0] != counts[1], "the log is made so that it matters"
    assert found.ari == pytest.approx(agreement(today, what_if))


async def test_a_log_that_records_no_policy_is_folded_by_the_default_and_overridden_too(
    kafka: KafkaServer, topics: Topics, tmp_path: Path
) -> None:
    rig = FoldRig(kafka.bootstrap_servers, topics, NOBODY, tmp_path)
    await rig.write(topics.pet_log.name, *facts_of("pet-0"))
    done = await replayed(World(rig, tmp_path), "pet-0", min_cluster_size=9)
    assert (done.today, done.what_if) == (Policy(), Policy(min_cluster_size=9))
    (found,) = done.differences
    assert (found.clusters_today, found.clusters_what_if, found.moved) == (1, 0, PHOTOS)
    assert len(found.lost) == 1


async def test_a_purged_pet_has_no_photos_and_one_that_lives_again_its_new_ones(world: World) -> None:
    await world.rig.purge("pet-0")
    (found,) = (await replayed(world, "pet-0", merge=0.75)).differences
    assert (found.ari, found.photos, found.differs) == (None, 0, False)
    await world.rig.write(world.rig.topics.pet_log.name, *facts_of("pet-0", PHOTOS, 2, "2026-11-22T00:00:00Z"))
    (found,) = (await replayed(world, "pet-0", merge=0.75)).differences
    assert found.photos == 2


async def test_a_log_without_its_beginning_is_refused(world: World) -> None:
    number = partition_of("pet-0")
    admin = AIOKafkaAdminClient(bootstrap_servers=world.rig.settings.kafka_bootstrap_servers)
    await admin.start()
    tp = TopicPartition(world.rig.topics.pet_log.name, number)
    await admin.delete_records({tp: RecordsToDelete(before_offset=3)})
    await admin.close()
    with pytest.raises(StopProcess, match=rf"{tp.topic}/{number} has lost its beginning"):
        await replayed(world, "pet-0", merge=0.75)


async def test_an_engine_that_this_release_lacks_is_told(world: World) -> None:
    with pytest.raises(StopProcess, match="engine mixture 9 is not known to this release"):
        await replayed(world, "pet-0", engine_version=9)
