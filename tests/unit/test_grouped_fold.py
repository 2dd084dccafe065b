"""Folding with an engine that groups components: what its versions tell is where its images lie, whatever the log."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
import pytest

from projections.bulk_rows import all_rows
from schemas.facts import MIXTURE_POLICY, Policy, PolicyChanged, ReclusterRequested
from schemas.ids import UNCLUSTERED
from schemas.topics import PARTITION_FACTS_KEY
from schemas.versions import GroupedVersion, PetVersion
from tables.replay import LogReplay
from tables.rows import UNFOLDED, decode_image_row
from tests.albums import Directions, embedded, image
from tests.unit.test_fold import Entry, entry

POLICY = MIXTURE_POLICY
SEEDS = range(8)


def restless_log(seed: int, events: int = 40, policy: Policy = POLICY) -> list[Entry]:
    """An album whose bursts lie so close to each other that clusters merge and split again as photos arrive."""
    random, directions = np.random.default_rng(seed), Directions(seed)
    homes = [directions.new() for _ in range(4)]
    bursts = [directions.near(homes[int(random.integers(4))], 0.8) for _ in range(14)]
    log, made = [entry(PolicyChanged(policy=policy), PARTITION_FACTS_KEY)], 0
    for event in range(events):
        photos = []
        for _ in range(int(random.integers(1, 7))):
            burst = np.frombuffer(bursts[int(random.integers(14))], dtype="<i2") / 4096
            spread = float(random.choice([0.1, 0.3, 0.6]))
            photos.append(image(f"img_{made}", directions.near(burst, spread), float(random.random())))
            made += 1
        again = event % 13 == 12  # a forced job: the album is folded anew behind its images
        log.append(entry(embedded(photos, job_id=f"job_{event}", force=again)))
        if event == events // 2:
            log.append(entry(ReclusterRequested(request_id="again")))
    return log


def folded(log: list[Entry]) -> tuple[LogReplay, list[PetVersion]]:
    replay = LogReplay(0)
    changes = [replay.feed(offset, *each) for offset, each in enumerate(log)]
    assert not replay.refused
    return replay, [change for change in changes if isinstance(change, PetVersion)]


def lies(replay: LogReplay) -> dict[str, int]:
    """Where each image lies, by the fold's own rows."""
    pet, component = replay.store.pet("pet_1"), dict[str, int]()
    rows = sorted((int(key.split(b"/")[-1]), row) for key, row in replay.rows.items() if b"/i/" in key)
    for _, raw in rows:
        row = decode_image_row(raw)
        component |= {image.image_id: image.component for image in row.images if image.component != UNFOLDED}
        component |= dict(row.recluster or [])
    return {image_id: pet.clusters.number(at) for image_id, at in component.items()}


@pytest.mark.parametrize("room", [POLICY.max_components, 9])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_rows_of_all_versions_say_where_the_fold_has_every_image(seed: int, room: int) -> None:
    policy = msgspec.structs.replace(POLICY, max_components=room)
    replay, versions = folded(restless_log(seed, policy=policy))
    assert len(replay.store.pet("pet_1").mixture) <= room
    held = {row[1]: row[3] for row in all_rows(versions)["cluster_members"] if row[7] is None}
    assert held == lies(replay)
    assert len(held) > 100


def test_the_logs_make_clusters_merge_and_split() -> None:
    made = [version for seed in SEEDS for version in folded(restless_log(seed))[1]]
    versions = [version for version in made if isinstance(version, GroupedVersion)]
    assert sum(bool(version.moves) for version in versions) > 10
    again = [v.moves for v in versions if v.version > 21 and v.job_id != "again"]
    assert sum(map(bool, again)) > 10, "behind the recluster, too"
    assert any(cluster.merged_into >= 0 for version in versions for cluster in version.clusters)
    assert any(cluster.split_from >= 0 for version in versions for cluster in version.clusters)


@pytest.mark.parametrize("seed", SEEDS)
def test_counts_and_clusters_agree_with_the_members(seed: int) -> None:
    replay, versions = folded(restless_log(seed))
    pet, last, where = replay.store.pet("pet_1"), versions[-1], lies(replay)
    sizes = Counter(where.values())
    assert last.unclustered_count == pet.unclustered_count == sizes.pop(UNCLUSTERED, 0)
    assert last.cluster_count == len(sizes)
    rows = [row for row in all_rows(versions)["cluster_summaries"] if row[3] is None]
    assert {row[1]: row[5] for row in rows} == sizes
    assert [version.version for version in versions] == list(range(1, len(versions) + 1))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pet_read_from_its_rows_goes_on_as_one_that_was_kept(seed: int) -> None:
    log = restless_log(seed)
    kept, _ = folded(log)
    read = LogReplay(0)
    for offset, each in enumerate(log):
        read = LogReplay(0, rows=read.rows)
        read.feed(offset, *each)
    assert read.digest() == kept.digest()


def test_a_stricter_policy_dissolves_what_is_too_small_for_it() -> None:
    """What no longer waits, because it was a cluster, is known by its component only."""
    directions = Directions(5)
    burst = directions.new()
    photos = [entry(embedded([image(f"p{n}", directions.near(burst))], job_id=f"job_{n}")) for n in range(4)]
    strict, lenient = (
        entry(PolicyChanged(policy=msgspec.structs.replace(POLICY, min_cluster_size=least)), PARTITION_FACTS_KEY)
        for least in (5, 2)
    )
    for log, clusters in (
        ([lenient, *photos[:2]], {0}),
        ([lenient, *photos[:2], strict, photos[2]], {UNCLUSTERED}),
        ([lenient, *photos[:2], strict, photos[2], lenient, photos[3]], {1}),
    ):
        replay, versions = folded(log)
        held = {row[1]: row[3] for row in all_rows(versions)["cluster_members"] if row[7] is None}
        assert held == lies(replay)
        assert set(held.values()) == clusters
        assert replay.store.pet("pet_1").unclustered_count == sum(number == UNCLUSTERED for number in held.values())


def test_who_was_alone_is_scored_once_others_lie_with_it() -> None:
    directions = Directions(5)
    burst = directions.new()
    log = [entry(PolicyChanged(policy=POLICY), PARTITION_FACTS_KEY)]
    log += [
        entry(embedded([image(f"p{n}", directions.near(burst))], job_id=f"job_{n}")) for n in range(3)
    ]  # one component
    _, versions = folded(log)
    first, second, _third = versions
    assert [member.score for member in first.members] == [1.0]
    scores = {member.image_id: member.score for member in second.members}
    assert scores["p0"] == pytest.approx(scores["p1"])
    assert 0.5 < scores["p0"] < 1


def test_another_kind_of_engine_folds_the_album_anew() -> None:
    """The components of one mean nothing to the other; cluster numbers go on with their images."""
    log = [*restless_log(3), entry(PolicyChanged(policy=Policy(policy_id="leader")), PARTITION_FACTS_KEY)]
    log += [*restless_log(4, policy=Policy(policy_id="leader"))[1:20]]
    log.append(entry(PolicyChanged(policy=POLICY), PARTITION_FACTS_KEY))
    log += [entry(embedded([image("last", Directions(9).near(Directions(9).new()))], job_id="last"))]
    replay, versions = folded(log)
    held = {row[1]: row[3] for row in all_rows(versions)["cluster_members"] if row[7] is None}
    assert held == lies(replay)
    assert {member.rule for member in versions[-1].members} == {"reclustered"}
    kept = {number for number in lies(folded(log[:-2])[0]).values() if number in held.values()}
    assert len(kept) > 3


@pytest.mark.parametrize("seed", SEEDS)
def test_a_repeated_event_changes_nothing(seed: int) -> None:
    log = restless_log(seed)
    replay, versions = folded(log)
    before = replay.digest()
    for each in log[1:]:
        replay.feed(len(log) + 1, *each)
    assert {version.version for version in versions} == set(range(1, replay.store.pet("pet_1").version + 1))
    assert replay.store.pet("pet_1").version == len(versions)
    assert lies(replay) == {row[1]: row[3] for row in all_rows(versions)["cluster_members"] if row[7] is None}
    assert before
