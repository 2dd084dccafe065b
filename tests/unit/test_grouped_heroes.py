"""The heroes that the fold publishes under an engine that groups components, whatever the log."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from schemas.codec import decode_version, encode_version
from schemas.facts import MIXTURE_POLICY, EmbeddedImage, Policy, PolicyChanged, Quality, ReclusterRequested
from schemas.topics import PARTITION_FACTS_KEY
from schemas.versions import GroupedHero, GroupedVersion, Hero, PetVersion
from tables.heroes import ALL, MARGIN, PARTS, near
from tables.pet import HERO_CANDIDATES, HEROES_SHOWN, Candidate, Listed, Pet
from tables.replay import LogReplay
from tests.albums import Directions, embedded
from tests.unit.test_fold import Entry, entry

SEEDS = range(4)


def shots_of(seed: int, bursts: int = 5, count: int = 60) -> list[EmbeddedImage]:
    """Photos of some bursts in random order; one in three is a near-duplicate of the one before."""
    random, directions = np.random.default_rng(seed), Directions(seed)
    homes, made = [directions.new() for _ in range(bursts)], list[EmbeddedImage]()
    for number in range(count):
        parts = [float(value) for value in random.random(8)]
        digest = hashlib.sha256(f"{seed} {number}".encode()).digest()
        phash = int.from_bytes(digest[:8], "little")
        vector = directions.near(homes[int(random.integers(bursts))], float(random.choice([0.3, 0.7, 1.0])))
        if number % 3 == 2:
            phash, vector = made[-1].phash ^ 5, made[-1].vector
        image = EmbeddedImage(f"img_{number}", vector, Quality(*parts), phash, 64, 48, f"2026-05-{number % 28 + 1:02}")
        made.append(image)
    return made


def album(seed: int, policy: Policy = MIXTURE_POLICY, a_job: int = 4) -> list[Entry]:
    shots = shots_of(seed)
    log = [entry(PolicyChanged(policy=policy), PARTITION_FACTS_KEY)]
    for start in range(0, len(shots), a_job):
        log.append(entry(embedded(shots[start : start + a_job], job_id=f"job_{start}")))
    return log


def versions_of(log: list[Entry]) -> Iterator[tuple[PetVersion, Pet]]:
    replay = LogReplay(0)
    for offset, each in enumerate(log):
        version = replay.feed(offset, *each)
        if isinstance(version, PetVersion):
            yield version, replay.store.pet("pet_1")


def by_id(pet: Pet, number: int) -> dict[str, Candidate]:
    found: dict[str, Candidate] = {}
    for component in pet.clusters.components(number):
        assert len(pet.groups[component].heroes) <= HERO_CANDIDATES
        found |= {each.image_id: each for each in pet.groups[component].heroes if isinstance(each, Candidate)}
    return found


@pytest.mark.parametrize("a_job", [1, 4])
@pytest.mark.parametrize("seed", SEEDS)
def test_no_near_duplicates_among_heroes_and_their_scores_are_their_parts(seed: int, a_job: int) -> None:
    for version, pet in versions_of(album(seed, a_job=a_job)):
        for cluster in version.clusters:
            if cluster.merged_into >= 0:
                continue
            candidates = by_id(pet, cluster.number)
            heroes = [candidates[hero.image_id] for hero in cluster.heroes]
            assert 1 <= len(heroes) <= HEROES_SHOWN
            assert not any(near(one, other) for one in heroes for other in heroes if one is not other)
            assert [each.hero for each in heroes] == [True] + [False] * (len(heroes) - 1)
            assert sum(each.hero for each in candidates.values()) == 1
            for hero in cluster.heroes:
                assert isinstance(hero, GroupedHero)
                whole = sum(part.weight * hero.parts.get(part.name, part.typical / 1000) for part in PARTS)
                assert hero.score == pytest.approx(whole * 1000 / ALL)
                assert {"sharpness", "evenness", "recency", "closeness"} <= hero.parts.keys()


@pytest.mark.parametrize("a_job", [1, 4])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_hero_that_stays_in_its_cluster_gives_way_only_to_a_clearly_better_one(seed: int, a_job: int) -> None:
    heroes: dict[int, str] = {}
    changed = 0
    for version, pet in versions_of(album(seed, a_job=a_job)):
        for cluster in version.clusters:
            before = heroes.pop(cluster.number, None)
            if cluster.merged_into >= 0:
                continue
            heroes[cluster.number] = now = cluster.heroes[0].image_id
            candidates = by_id(pet, cluster.number)
            best = max(each.worth for each in candidates.values())
            assert candidates[now].worth > best - MARGIN
            if before in candidates and before != now and cluster.number not in version_merges(version):
                assert candidates[now].worth >= candidates[before].worth + MARGIN
                changed += 1
    assert changed


def version_merges(version: PetVersion) -> set[int]:
    """Clusters that took others in: the better of their heroes stays."""
    into = {cluster.merged_into for cluster in version.clusters if cluster.merged_into >= 0}
    return into | {move.target for move in version.moves} if isinstance(version, GroupedVersion) else into


def test_a_better_photo_far_behind_becomes_the_hero_and_a_slightly_better_one_does_not() -> None:
    directions = Directions(1)
    home = directions.new()

    def shot(name: str, value: float, number: int) -> EmbeddedImage:
        quality = Quality(value, *[value] * 7)
        return EmbeddedImage(name, directions.near(home, 0.05), quality, 0xFFFF << 16 * (number % 4) | number, 64, 48)

    shots = [shot("first", 0.5, 0), *(shot(f"other_{number}", 0.501, number) for number in range(1, 40))]
    log = [entry(PolicyChanged(policy=MIXTURE_POLICY), PARTITION_FACTS_KEY)]
    log += [entry(embedded([each], job_id=each.image_id)) for each in shots]
    versions = [version for version, _ in versions_of(log)]
    first = versions[1].clusters[0].heroes[0].image_id
    assert {version.clusters[0].heroes[0].image_id for version in versions[1:]} == {first}
    log.append(entry(embedded([shot("best", 0.9, 77)], job_id="best")))
    assert [version for version, _ in versions_of(log)][-1].clusters[0].heroes[0].image_id == "best"


def test_a_recluster_finds_the_parts_in_the_album_again() -> None:
    log = [*album(2), entry(ReclusterRequested(request_id="again"))]
    version, pet = list(versions_of(log))[-1]
    for cluster in version.clusters:
        if cluster.merged_into < 0:
            best = max(by_id(pet, cluster.number).values(), key=lambda each: each.worth)
            assert cluster.heroes[0].image_id == best.image_id
            assert isinstance(cluster.heroes[0], GroupedHero)
            assert "evenness" in cluster.heroes[0].parts


def test_versions_with_parts_can_be_read_and_the_first_engine_writes_none() -> None:
    version, _ = list(versions_of(album(1)))[-1]
    assert decode_version(encode_version(version)) == version
    plain, pet = list(versions_of(album(1, Policy())))[-1]
    assert {type(hero) for cluster in plain.clusters for hero in cluster.heroes} == {Hero}
    assert {type(each) for group in pet.groups.values() for each in group.heroes} == {Listed}


def test_an_album_of_the_first_engine_has_heroes_when_it_is_folded_by_the_other() -> None:
    """Its rows tell no parts: the measured quality stands for them."""
    log = [*album(3, Policy()), entry(PolicyChanged(policy=MIXTURE_POLICY), PARTITION_FACTS_KEY)]
    log.append(entry(ReclusterRequested(request_id="again")))
    version, _ = list(versions_of(log))[-1]
    assert isinstance(version, GroupedVersion)
    hero = next(cluster.heroes[0] for cluster in version.clusters if cluster.heroes)
    assert isinstance(hero, GroupedHero)
    assert set(hero.parts) == {"sharpness", "exposure", "contrast", "resolution", "closeness"}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pet_read_from_its_rows_has_the_same_candidates(seed: int) -> None:
    log = album(seed)
    log.insert(8, entry(PolicyChanged(policy=Policy(policy_id="leader")), PARTITION_FACTS_KEY))
    log.insert(12, entry(PolicyChanged(policy=msgspec.structs.replace(MIXTURE_POLICY)), PARTITION_FACTS_KEY))
    kept, read = LogReplay(0), LogReplay(0)
    for offset, each in enumerate(log):
        kept.feed(offset, *each)
        read = LogReplay(0, rows=read.rows)
        read.feed(offset, *each)
        assert read.digest() == kept.digest()
