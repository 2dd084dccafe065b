"""The fold: what it must always give, whatever the log."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import decode_version, encode_fact
from schemas.facts import MIXTURE_POLICY, Policy, PolicyChanged, ReclusterRequested
from schemas.insights import Insight
from schemas.public import ClustersUpdated, JobStatus
from schemas.topics import PARTITION_FACTS_KEY
from schemas.versions import PetVersion
from tables import store
from tables.outputs import Output
from tables.replay import LogReplay
from tests.albums import DIMENSION, Directions, embedded, image

TIME = "2026-11-21T00:00:00.000000+00:00"
Entry = tuple[bytes, bytes]


def entry(fact: object, pet: str = "pet_1") -> Entry:
    return pet.encode(), encode_fact(fact, event_id="e", time=TIME, pet_id=pet)  # type: ignore[arg-type]


def fold(log: list[Entry]) -> tuple[LogReplay, list[list[Output]]]:
    replay = LogReplay(0)
    return replay, [replay.apply(offset, key, value) for offset, (key, value) in enumerate(log)]


def versions(outputs: list[list[Output]]) -> list[PetVersion]:
    return [decode_version(o.value) for event in outputs for o in event if o.channel == "versions"]


def statuses(outputs: list[list[Output]]) -> list[JobStatus]:
    return [msgspec.json.decode(o.value, type=JobStatus) for event in outputs for o in event if o.channel == "status"]


def burst_log(seed: int, bursts: int = 4, shots: int = 5, size: int = 3, pet: str = "pet_1") -> list[Entry]:
    """An album of bursts, shuffled, `size` images an event."""
    directions = Directions(seed)
    photos = [
        image(f"b{b}-{s}", directions.near(d), quality=(b * shots + s) % 7 / 7)
        for b, d in enumerate(directions.new() for _ in range(bursts))
        for s in range(shots)
    ]
    order = directions._random.permutation(len(photos))
    groups = [order[i : i + size] for i in range(0, len(order), size)]
    return [
        entry(embedded([photos[i] for i in group], job_id=f"job{n}", labels=("Portraits",)), pet)
        for n, group in enumerate(groups)
    ]


def membership(log_versions: list[PetVersion]) -> dict[str, int]:
    """Applies version messages as a projection does; imports nothing of the fold."""
    cluster: dict[str, int] = {}
    for version in log_versions:
        for change in version.clusters:
            if change.merged_into >= 0:
                cluster = {i: change.merged_into if c == change.number else c for i, c in cluster.items()}
        cluster.update({member.image_id: member.cluster for member in version.members})
    return cluster


def test_bursts_become_clusters_with_the_sharpest_as_hero() -> None:
    _, outputs = fold(burst_log(1))
    lies = membership(versions(outputs))
    assert len(lies) == 20
    for burst in range(4):
        assert len({c for i, c in lies.items() if i.startswith(f"b{burst}-")}) == 1
    assert len(set(lies.values())) == 4
    last = versions(outputs)[-1]
    assert (last.cluster_count, last.image_count, last.unclustered_count) == (4, 20, 0)
    heroes = [change.heroes for v in versions(outputs) for change in v.clusters if change.number == 0][-1]
    assert [h.score for h in heroes] == sorted((h.score for h in heroes), reverse=True)


POLICIES = [Policy(), MIXTURE_POLICY]


@pytest.mark.parametrize("policy", POLICIES, ids=["leader-merge", "mixture"])
def test_what_a_job_says_of_an_image_names_its_cluster_also_when_it_is_folded_anew(policy: Policy) -> None:
    """An image votes for its own label instead of its job's; the newest counts."""
    directions = Directions(21)
    near = directions.new()
    photos = [image(f"i{n}", directions.near(near, 0.1)) for n in range(5)]
    said = [Insight(label="Naps"), Insight(label="Naps"), Insight(label="Walks"), Insight(pose="frontal"), None]
    told = [msgspec.structs.replace(photo, insight=each) for photo, each in zip(photos, said, strict=True)]
    log = [
        (PARTITION_FACTS_KEY.encode(), encode_fact(PolicyChanged(policy=policy), event_id="e", time=TIME, pet_id="")),
        entry(embedded(told[:4], job_id="j1", labels=("Walks", "Portraits"))),
        entry(embedded(photos[4:], job_id="j2", labels=("Naps",))),
        entry(ReclusterRequested(request_id="r1")),
    ]

    def label() -> str:
        return [change.label for version in versions(fold(log)[1]) for change in version.clusters][-1]

    assert label() == "Naps"  # three of five; Walks has two
    log.append(
        entry(embedded([msgspec.structs.replace(told[0], insight=Insight(label="Walks"))], job_id="j3", force=True))
    )
    assert label() == "Walks"
    log.append(entry(embedded([photos[2]], job_id="j4", force=True)))
    log.append(entry(ReclusterRequested(request_id="r2")))
    assert label() == "Walks"  # what was said of an image holds until something else is


@pytest.mark.parametrize("policy", POLICIES, ids=["leader-merge", "mixture"])
def test_what_is_said_of_images_writes_no_byte_more_for_others(policy: Policy) -> None:
    """Rows and messages of a log are the same whether or not images say what nobody votes by."""
    directions = Directions(22)
    photos = [image(f"i{n}", directions.near(directions.new(), 0.1)) for n in range(4)]
    first = (
        PARTITION_FACTS_KEY.encode(),
        encode_fact(PolicyChanged(policy=policy), event_id="e", time=TIME, pet_id=""),
    )
    plain = fold([first, entry(embedded(photos))])
    labelled = fold([first, entry(embedded([msgspec.structs.replace(p, insight=Insight(label="x")) for p in photos]))])
    (row,), (wider,) = (
        [msgspec.msgpack.decode(value) for key, value in replay.rows.items() if b"/i/" in key]
        for replay in (plain[0], labelled[0])
    )
    assert len(row) == 5
    assert (wider[:5], wider[5]) == (row, {f"i{n}": "x" for n in range(4)})


def test_versions_have_no_gap_and_counts_agree_with_the_projected_membership() -> None:
    _, outputs = fold(burst_log(2, bursts=6, size=1))
    seen: list[PetVersion] = []
    for version in versions(outputs):
        seen.append(version)
        lies = membership(seen)
        assert version.version == len(seen)
        assert version.image_count == len(lies)
        assert version.unclustered_count == sum(c == -1 for c in lies.values())
        assert version.cluster_count == len(set(lies.values()) - {-1})
        for change in version.clusters:
            assert change.member_count == sum(c == change.number for c in lies.values())


def test_a_repeated_event_changes_nothing() -> None:
    log = burst_log(3)
    replay, _ = fold(log)
    state = replay.store.state("pet_1")
    _, outputs = fold(log + log)
    assert len(versions(outputs)) == len(log)
    again = LogReplay(0)
    for offset, (key, value) in enumerate(log + log):
        again.apply(offset, key, value)
    assert again.store.pet("pet_1").version == replay.store.pet("pet_1").version
    assert again.store.pet("pet_1").ended == replay.store.pet("pet_1").ended
    assert state != again.store.state("pet_1"), "the state does remember the last offset"


@pytest.mark.parametrize("log", [[], burst_log(3)], ids=["a pet without images", "an album"])
def test_a_recluster_that_is_asked_for_twice_is_known_for_a_repeat_when_it_is_read_again(log: list[Entry]) -> None:
    again = entry(ReclusterRequested(request_id="r1"))
    replay, _ = fold([*log, again, again])
    state, last = replay.store.state("pet_1"), len(log) + 1
    replay.apply(last, *again)
    assert replay.store.state("pet_1") == state


def test_force_replaces_vectors_and_keeps_cluster_numbers() -> None:
    directions = Directions(8)
    first, second = directions.new(), directions.new()
    photos = [image(f"a{n}", directions.near(first)) for n in range(4)]
    photos += [image(f"b{n}", directions.near(second)) for n in range(4)]
    moved = image("b0", directions.near(first))
    forced = embedded([moved], job_id="again", force=True)
    _, outputs = fold([entry(embedded(photos)), entry(forced), entry(forced)])
    before, after = membership(versions(outputs)[:1]), membership(versions(outputs))
    assert before["b0"] == before["b1"] != before["a0"]
    assert after["b0"] == after["a0"] == before["a0"]
    assert after["b1"] == before["b1"]
    assert len(versions(outputs)) == 2, "a forced job is idempotent by (pet, job)"


def test_recluster_under_another_policy_makes_the_next_version_and_rebuilds_alike() -> None:
    strict = PolicyChanged(policy=Policy(policy_id="strict", join=0.97, merge=0.99))
    log = [*burst_log(9), entry(strict, PARTITION_FACTS_KEY), entry(ReclusterRequested(request_id="r1"))]
    replay, outputs = fold(log)
    made = versions(outputs)
    assert made[-1].version == len(made)
    assert made[-1].policy_id == "strict"
    lies = membership(made)
    assert made[-1].unclustered_count == sum(c == -1 for c in lies.values()) > 0
    assert fold(log)[0].digest() == replay.digest()


def test_a_fact_that_cannot_be_folded_fails_its_job_and_changes_nothing_else() -> None:
    log = burst_log(10)
    before = fold(log)[0].store.pet("pet_1")
    bad = [
        entry(embedded([image("short", b"\0\1" * 3)], job_id="b1")),
        entry(embedded([image("zero", bytes(2 * DIMENSION))], job_id="b2")),
        entry(embedded([image("huge", b"\xff\x7f" * DIMENSION)], job_id="b3")),
    ]
    replay, outputs = fold([*log, *bad, *bad])
    refused = statuses(outputs)[len(log) :]
    assert [(s.job_id, s.status) for s in refused] == [("b1", "failed"), ("b2", "failed"), ("b3", "failed")]
    assert "short" in refused[0].error
    letters = [o for event in outputs for o in event if o.channel == "deadletter"]
    assert len({letter.id for letter in letters}) == 6, "each fact has its letter"
    after = replay.store.pet("pet_1")
    assert (after.version, after.folded, after.image_count) == (before.version, before.folded, before.image_count)


def test_an_album_too_large_to_fold_anew_refuses_the_forced_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_RECORD_BYTES", 20_000)
    directions = Directions(13)
    photos = [image(f"i{n}", directions.near(directions.new())) for n in range(200)]
    log = [entry(embedded(photos[n : n + 10], job_id=f"j{n}")) for n in range(0, 200, 10)]
    replay, outputs = fold(
        [*log, entry(embedded(photos[:2], job_id="again", force=True)), entry(embedded([], job_id="x"))]
    )
    assert [s.status for s in statuses(outputs)[-2:]] == ["failed", "succeeded"]
    assert "too large" in statuses(outputs)[-2].error
    assert replay.store.pet("pet_1").version == len(log)


def test_the_component_bound_holds_and_every_image_stays_accounted_for() -> None:
    directions = Directions(11)
    policy = PolicyChanged(policy=Policy(policy_id="small", max_components=8))
    log = [entry(policy, PARTITION_FACTS_KEY)]
    log += [entry(embedded([image(f"i{n}", directions.near(directions.new()))], job_id=f"j{n}")) for n in range(40)]
    replay, outputs = fold(log)
    assert len(replay.store.pet("pet_1").mixture) == 8
    assert len(membership(versions(outputs))) == versions(outputs)[-1].image_count == 40


def test_the_public_snapshot_is_bounded() -> None:
    _, outputs = fold(burst_log(12, bursts=60, shots=4, size=20))
    message = msgspec.json.decode(outputs[-1][1].value, type=ClustersUpdated)
    assert message.cluster_count > len(message.clusters) == Policy().max_snapshot_clusters
    assert sum(len(c.members) for c in message.clusters) <= Policy().max_snapshot_members
    assert all(c.hero_image_id for c in message.clusters)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 9),
    cuts=st.lists(st.integers(0, 30), max_size=4),
)
def test_same_log_same_bytes_even_when_pets_are_decoded_from_their_rows(seed: int, size: int, cuts: list[int]) -> None:
    log = burst_log(seed, bursts=5, shots=4, size=size)
    whole, outputs = fold(log)
    restarted, again = LogReplay(0), []
    for offset, (key, value) in enumerate(log):
        if offset in cuts:
            fresh = LogReplay(0)
            fresh.rows.update(restarted.rows)
            restarted = fresh
        again.append(restarted.apply(offset, key, value))
    assert again == outputs
    assert restarted.digest() == whole.digest()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), repeats=st.lists(st.integers(0, 19), max_size=8))
def test_repeats_anywhere_in_the_log_never_change_the_answer(seed: int, repeats: list[int]) -> None:
    log = burst_log(seed, size=1)
    disturbed = list(log)
    for index in repeats:
        disturbed.insert(min(len(disturbed), index + 5), log[index])
    assert membership(versions(fold(disturbed)[1])).keys() == membership(versions(fold(log)[1])).keys()
    numbers = [v.version for v in versions(fold(disturbed)[1])]
    assert numbers == list(range(1, len(log) + 1))


_SUBPROCESS = """
from tests.unit.test_fold import burst_log, fold
print(fold(burst_log(42, bursts=12, shots=8, size=5))[0].digest())
"""


def test_same_log_same_bytes_under_other_kernels_thread_counts_and_hash_seeds() -> None:
    environments = [
        {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "1"},
        {"OPENBLAS_CORETYPE": "Nehalem", "OPENBLAS_NUM_THREADS": "2", "PYTHONHASHSEED": "2"},
        {"OPENBLAS_CORETYPE": "Sandybridge", "OPENBLAS_NUM_THREADS": "2", "PYTHONHASHSEED": "3"},
    ]
    digests = {
        subprocess.run(
            [sys.executable, "-c", _SUBPROCESS], env=os.environ | env, capture_output=True, text=True, check=True
        ).stdout
        for env in environments
    }
    assert len(digests) == 1


@pytest.mark.parametrize("value", [None, b"", b"\xff\xff", b"\x80", b"\x81\xa4type\xa5Nopes"])
@pytest.mark.parametrize("key", [b"pet_1", b"", None, b"\xff"])
def test_a_record_that_is_no_fact_is_refused(key: bytes | None, value: bytes | None) -> None:
    replay = LogReplay(0)
    assert replay.apply(0, key, value) == []
    assert replay.refused[0][0] == 0
