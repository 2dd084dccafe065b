"""What a purge does to a pet's state, and what a replay makes of it without the keys. Pure."""

from __future__ import annotations

import msgspec
import pytest

from schemas.codec import decode_change, decode_fact, decode_message, encode_fact, fact_type
from schemas.decisions import DecisionSettled
from schemas.facts import (
    MIXTURE_POLICY,
    DecisionSubmitted,
    Fact,
    ImagesEmbedded,
    ImagesRemoved,
    PetPurged,
    PolicyChanged,
    ReclusterRequested,
)
from schemas.pet_keys import KeyRing, PetKey, decode_key
from schemas.topics import PARTITION_FACTS_KEY
from schemas.versions import PetErased, PetVersion
from tables.outputs import Output
from tables.replay import LogReplay
from tests.albums import Directions, embedded, image
from tests.unit.test_sealing import Ring

PET = "pet_1"
BEFORE, AT, AFTER = (f"2026-01-05T10:0{minute}:00.000000+00:00" for minute in (0, 5, 9))
OLD = PetKey(key_id="k1", pet_id=PET, secret=bytes(range(32)))
NEW = PetKey(key_id="k2", pet_id=PET, secret=bytes(range(1, 33)))
RING = Ring({"k1": OLD, "k2": NEW})
PURGE = PetPurged(purge_id="p1", accepted_until=AT, keys=("k1",), who="ops", why="asked")
Log = list[bytes]


def sealed(fact: Fact, key: PetKey | None = None) -> bytes:
    return encode_fact(fact, event_id=fact_type(fact), time=AFTER, pet_id=PET, key=key)


def burst(seed: int, job_id: str, enqueued_at: str, shots: int = 3) -> ImagesEmbedded:
    directions = Directions(seed)
    direction = directions.new()
    photos = [image(f"{job_id}-{n}", directions.near(direction)) for n in range(shots)]
    return embedded(photos, job_id=job_id, enqueued_at=enqueued_at)


def fold(log: Log, keys: KeyRing) -> tuple[LogReplay, list[list[Output]]]:
    replay = LogReplay(0, keys=keys)
    return replay, [replay.apply(offset, PET.encode(), value) for offset, value in enumerate(log)]


def changes(outputs: list[list[Output]]) -> list[PetVersion | PetErased]:
    return [decode_change(o.value) for event in outputs for o in event if o.channel == "versions"]


def history() -> Log:
    return [sealed(burst(1, "a", BEFORE), OLD), sealed(burst(2, "b", BEFORE), OLD)]


def both(log: Log) -> tuple[LogReplay, LogReplay]:
    """The fold that could read all, and a replay when the purges have destroyed their keys."""
    live, outputs = fold(log, Ring({"k1": OLD, "k2": NEW}))
    destroyed = {
        key.key_id: key for event in outputs for o in event if o.channel == "keys" for key in [decode_key(o.value)]
    }
    return live, fold(log, Ring({"k1": OLD, "k2": NEW} | destroyed))[0]


def test_a_purge_empties_the_pet_and_says_so_to_everybody() -> None:
    replay, outputs = fold([*history(), sealed(PURGE)], Ring({"k1": OLD}))
    version, tombstone, key = outputs[2]
    erased = decode_change(version.value)
    assert erased == PetErased(
        pet_id=PET,
        purge_id="p1",
        version=2,
        time=AFTER,
        partition=0,
        offset=2,
        accepted_until=AT,
        who="ops",
        why="asked",
    )
    assert (version.type, tombstone.channel, tombstone.value) == ("media.PetErased.v1", "updated", b"")
    left = decode_key(key.value)
    assert (left.key_id, left.secret) == ("k1", b"")
    assert left.destroyed is not None
    assert (left.destroyed.purge_id, left.destroyed.last_version, left.destroyed.next_cluster) == ("p1", 2, 2)
    assert {row.decode() for row in replay.rows} == {f"{PET}/h", f"{PET}/p/2", f"{PET}/c/2"}
    assert not [row for row in replay.rows.values() if b"a-0" in row or b"b-0" in row]


def test_numbers_go_on_and_no_cluster_number_is_used_again() -> None:
    outputs = fold([*history(), sealed(PURGE), sealed(burst(3, "c", AFTER), NEW)], Ring({"k1": OLD, "k2": NEW}))[1]
    last = changes(outputs)[-1]
    assert isinstance(last, PetVersion)
    assert (last.version, last.image_count, [c.number for c in last.clusters]) == (3, 3, [2])


def test_a_replay_without_the_keys_has_the_same_state_and_makes_the_same_versions() -> None:
    log = [*history(), sealed(PURGE), sealed(burst(3, "c", AFTER), NEW)]
    live, later = both(log)
    assert later.digest() == live.digest()
    more = sealed(burst(3, "d", AFTER), NEW)
    assert later.apply(4, PET.encode(), more) == live.apply(4, PET.encode(), more) != []
    assert later.refused == live.refused == []


def test_jobs_accepted_before_and_facts_under_destroyed_keys_are_ignored() -> None:
    late = [
        sealed(burst(4, "late", AT), NEW),
        sealed(burst(5, "stale key", AFTER), OLD),
        sealed(burst(6, "clear", BEFORE)),
    ]
    log = [*history(), sealed(PURGE), *late]
    outputs = fold(log, Ring({"k1": OLD, "k2": NEW}))[1]
    assert outputs[3:] == [[], [], []]
    live, later = both(log)
    assert later.digest() == live.digest()


def test_a_purge_that_is_read_again_spares_what_came_since() -> None:
    log = [*history(), sealed(PURGE), sealed(burst(3, "c", AFTER), NEW), sealed(PURGE)]
    live, outputs = fold(log, Ring({"k1": OLD, "k2": NEW}))
    assert outputs[4] == []
    assert live.store.pet(PET).image_count == 3
    assert both(log)[1].digest() == live.digest()


def test_a_second_purge_and_a_third_upload() -> None:
    second = msgspec.structs.replace(PURGE, purge_id="p2", accepted_until=AFTER, keys=("k2",))
    log = [*history(), sealed(PURGE), sealed(burst(3, "c", AFTER), NEW), sealed(second)]
    live, later = both(log)
    assert (later.store.pet(PET).version, later.store.pet(PET).next_cluster) == (3, 3)
    assert later.digest() == live.digest()


def test_clear_facts_before_the_purge_do_not_matter() -> None:
    live, later = both([sealed(burst(1, "a", BEFORE)), *history(), sealed(PURGE)])
    assert later.digest() == live.digest()


def test_a_pet_that_never_was_and_one_without_images_can_be_purged() -> None:
    none = msgspec.structs.replace(PURGE, keys=())
    replay, outputs = fold([sealed(none), sealed(ReclusterRequested(request_id="r"))], Ring({}))
    assert [type(change) for change in changes(outputs)] == [PetErased]
    assert replay.store.pet(PET).version == 0


def test_the_state_of_a_pet_that_was_never_purged_is_written_as_ever() -> None:
    plain, _ = fold([sealed(burst(1, "a", BEFORE))], Ring({}))
    covered, _ = fold([sealed(burst(1, "a", BEFORE), OLD)], Ring({"k1": OLD}))
    assert plain.digest() == covered.digest()


def renamed(decision_id: str = "d", cluster: int = 0) -> DecisionSubmitted:
    arguments = {"cluster": cluster, "name": "Rex"}
    return DecisionSubmitted(
        decision_id=decision_id, kind="rename", expected_version=1, arguments=arguments, who="ann", why="he is Rex"
    )


def removed(*image_ids: str) -> ImagesRemoved:
    return ImagesRemoved(request_id=f"gone {image_ids[0]}".replace(" ", "-"), image_ids=image_ids, reason="gone")


def grouped(*log: bytes) -> Log:
    """Of a partition that folds by the engine that obeys decisions."""
    return [sealed(PolicyChanged(policy=MIXTURE_POLICY)), *log]


def fold_decided(log: Log, keys: KeyRing) -> tuple[LogReplay, list[list[Output]]]:
    replay = LogReplay(0, keys=keys)
    names = [PARTITION_FACTS_KEY.encode(), *(PET.encode() for _ in log[1:])]
    return replay, [replay.apply(offset, names[offset], value) for offset, value in enumerate(log)]


def both_decided(log: Log) -> tuple[LogReplay, LogReplay, list[list[Output]]]:
    """As `both`, and what the fold sent that could read all; of what is sealed a replay says nothing."""
    live, outputs = fold_decided(log, RING)
    destroyed = {
        key.key_id: key for event in outputs for o in event if o.channel == "keys" for key in [decode_key(o.value)]
    }
    later, later_outputs = fold_decided(log, Ring({"k1": OLD, "k2": NEW} | destroyed))
    assert not any(
        sent for raw, sent in zip(log, later_outputs, strict=True) if decode_fact(raw, RING)[0].key_id == "k1"
    )
    return live, later, outputs


def test_decisions_and_removals_of_before_are_skipped_by_a_replay_without_the_keys() -> None:
    log = grouped(*history(), sealed(renamed(), OLD), sealed(removed("a-0"), OLD), sealed(PURGE))
    live, later, outputs = both_decided(log)
    assert [output.channel for output in outputs[3]].count("decisions") == 1, "it was carried out"
    assert "versions" in [output.channel for output in outputs[4]], "so was the removal"
    assert later.digest() == live.digest()
    assert (later.store.pet(PET).version, later.store.pet(PET).rules) == (4, None)
    more = [sealed(burst(3, "c", AFTER), NEW), sealed(renamed("e", live.store.pet(PET).next_cluster), NEW)]
    sent = [(live.apply(n, PET.encode(), raw), later.apply(n, PET.encode(), raw)) for n, raw in enumerate(more, 6)]
    assert all(one == other for one, other in sent)
    (settled,) = [decode_message(output.value) for output in sent[1][0] if output.channel == "decisions"]
    assert isinstance(settled, DecisionSettled)
    assert (settled.accepted, settled.version) == (True, 6)
    assert later.digest() == live.digest()
    assert later.refused == live.refused == []


@pytest.mark.parametrize("late", [renamed(cluster=2), removed("c-0")])
def test_a_decision_under_a_retired_key_or_accepted_before_the_purge_is_ignored(late: Fact) -> None:
    """It names what has come since, so that it would change something if it were folded."""
    accepted_before = encode_fact(late, event_id="e", time=AT, pet_id=PET, key=NEW)
    since = sealed(burst(3, "c", AFTER), NEW)
    for raw in (sealed(late, OLD), accepted_before):
        live, later, outputs = both_decided(grouped(*history(), sealed(PURGE), since, raw))
        assert outputs[-1] == []
        assert later.digest() == live.digest()
        assert (live.store.pet(PET).last_offset, live.store.pet(PET).version) == (5, 3)
        # And one of now is not.
    outputs = both_decided(grouped(*history(), sealed(PURGE), since, sealed(late, NEW)))[2]
    assert outputs[-1] != []


def test_a_pet_that_was_never_purged_folds_sealed_decisions_as_clear_ones() -> None:
    sealed_log = grouped(*history(), sealed(renamed(), OLD), sealed(removed("a-0"), OLD))
    clear_log = grouped(*(sealed(burst(n, name, BEFORE)) for n, name in ((1, "a"), (2, "b"))), sealed(renamed()),
                        sealed(removed("a-0")))  # fmt: skip
    one, other = fold_decided(sealed_log, Ring({"k1": OLD})), fold_decided(clear_log, Ring({}))
    assert one[0].digest() == other[0].digest()
    assert one[1] == other[1]
