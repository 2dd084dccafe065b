"""What a key seals, who can open it, and what is left when it is destroyed. Pure."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from schemas import codec, facts
from schemas.errors import DeadLetter, StopProcess
from schemas.fact_checks import check_fact
from schemas.insights import Insight
from schemas.pet_keys import Destroyed, PetKey, decode_key, encode_key
from tests.albums import Directions, embedded, image

TIME = "2026-01-05T10:00:00.000000+00:00"
KEY = PetKey(key_id="k1", pet_id="101", created_at=TIME, secret=bytes(range(32)))
GONE = msgspec.structs.replace(KEY, secret=b"", destroyed=Destroyed(purge_id="p1", last_version=7, next_cluster=4))


@dataclasses.dataclass
class Ring:
    """A ring of the keys it is given."""

    keys: dict[str, PetKey]

    def find(self, key_id: str) -> PetKey:
        """As schemas.pet_keys.KeyRing."""
        if key_id not in self.keys:
            raise StopProcess(f"key {key_id} is not known")
        return self.keys[key_id]


def fact() -> facts.ImagesEmbedded:
    photo = image("a-secret-image", Directions(1).near(Directions(1).new()))
    photo = msgspec.structs.replace(photo, insight=Insight(label="Rex asleep", pose="curled up", quality_score=0.5))
    album = embedded([photo], labels=("Rex at the lake",))
    return msgspec.structs.replace(album, known=("another-secret",))


def sealed(key: PetKey = KEY, event_id: str = "e") -> bytes:
    return codec.encode_fact(fact(), event_id=event_id, time=TIME, pet_id="101", key=key)


def test_a_sealed_fact_tells_nothing_of_images_and_opens_with_its_key() -> None:
    raw = sealed()
    for secret in (
        b"a-secret-image",
        b"another-secret",
        b"Rex at",
        b"Rex asleep",
        b"curled up",
        fact().images[0].vector,
    ):
        assert secret not in raw
        assert secret in codec.encode_fact(fact(), event_id="e", time=TIME, pet_id="101")
    assert codec.keys_named(raw) == ("k1",)
    envelope, opened = codec.decode_fact(raw, Ring({"k1": KEY}))
    assert (envelope.key_id, opened) == ("k1", fact())


DECIDED = facts.DecisionSubmitted(
    decision_id="d-1",
    kind="split",
    expected_version=3,
    arguments={"cluster": 7, "image_ids": ["a-secret-image"]},
    who="ann@example.org",
    why="she is Rex",
)
REMOVED = facts.ImagesRemoved(request_id="r-1", image_ids=("a-secret-image", "another"), reason="Rex is gone")
SAID = (b"a-secret-image", b"ann@", b"Rex", b"image_ids", b"another")


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (DECIDED, facts.DecisionSubmitted(decision_id="d-1", kind="split", expected_version=3)),
        (REMOVED, facts.ImagesRemoved(request_id="r-1", image_ids=())),
    ],
)
def test_a_sealed_decision_and_a_removal_tell_which_they_are_and_no_more(said: facts.Fact, left: facts.Fact) -> None:
    raw = codec.encode_fact(said, event_id="e", time=TIME, pet_id="101", key=KEY)
    field = b"image_ids" if isinstance(said, facts.ImagesRemoved) else b""  # the name of a field that is empty
    assert not [word for word in SAID if word in raw and word != field]
    clear = codec.encode_fact(said, event_id="e", time=TIME, pet_id="101")
    assert sum(word in clear for word in SAID) >= 4, "unsealed it says so"
    assert codec.decode_fact(clear)[1] == said
    assert codec.keys_named(raw) == ("k1",)
    assert codec.decode_fact(raw, Ring({"k1": KEY}))[1] == said
    _, found = codec.decode_fact(raw, Ring({"k1": GONE}))
    assert isinstance(found, facts.DecisionSubmitted | facts.ImagesRemoved)
    assert found.sealed
    assert msgspec.structs.replace(found, sealed=b"") == left
    check_fact(found)


@pytest.mark.parametrize("said", [DECIDED, REMOVED])
def test_a_sealed_decision_belongs_to_its_event_its_pet_its_key_and_its_kind(said: facts.Fact) -> None:
    raw = msgspec.msgpack.decode(codec.encode_fact(said, event_id="e", time=TIME, pet_id="101", key=KEY))
    photos = msgspec.msgpack.decode(sealed())["data"]["sealed"]
    another_kind = {"data": raw["data"] | {"sealed": photos}}
    for moved in (raw | {"event_id": "other"}, raw | {"pet_id": "202"}, raw | another_kind):
        with pytest.raises(DeadLetter, match="sealed: does not open"):
            codec.decode_fact(msgspec.msgpack.encode(moved), Ring({"k1": KEY}))
    wrong = msgspec.structs.replace(KEY, secret=bytes(32))
    with pytest.raises(DeadLetter, match="sealed: does not open"):
        codec.decode_fact(msgspec.msgpack.encode(raw), Ring({"k1": wrong}))


def test_facts_of_before_they_were_sealed_can_be_read() -> None:
    for said in (DECIDED, REMOVED, fact()):
        raw = msgspec.msgpack.decode(codec.encode_fact(said, event_id="e", time=TIME, pet_id="101"))
        del raw["data"]["sealed"], raw["key_id"]
        assert codec.decode_fact(msgspec.msgpack.encode(raw))[1] == said


def test_two_seals_of_one_fact_differ() -> None:
    assert sealed() != sealed()


def test_without_its_key_the_job_is_still_known_and_the_images_are_not() -> None:
    _, left = codec.decode_fact(sealed(), Ring({"k1": GONE}))
    assert isinstance(left, facts.ImagesEmbedded)
    assert left.sealed
    assert left.job == msgspec.structs.replace(fact().job, labels=())
    assert (left.images, left.known, left.failed, left.pending) == ((), (), (), ())


def test_a_key_that_was_never_seen_stops_the_reader() -> None:
    with pytest.raises(StopProcess, match="k1"):
        codec.decode_fact(sealed(), Ring({}))
    with pytest.raises(StopProcess, match="given no keys"):
        codec.decode_fact(sealed())


def test_a_sealed_part_belongs_to_its_event_its_pet_and_its_key() -> None:
    raw = msgspec.msgpack.decode(sealed())
    for field in ("event_id", "pet_id"):
        with pytest.raises(DeadLetter, match="sealed: does not open"):
            codec.decode_fact(msgspec.msgpack.encode(raw | {field: "other"}), Ring({"k1": KEY}))
    other = msgspec.structs.replace(KEY, secret=bytes(32))
    with pytest.raises(DeadLetter, match="sealed: does not open"):
        codec.decode_fact(sealed(), Ring({"k1": other}))


def test_a_purge_gets_its_numbers_back_from_the_keys_that_it_destroyed() -> None:
    purge = facts.PetPurged(purge_id="p1", accepted_until=TIME, keys=("k1",))
    raw = codec.encode_fact(purge, event_id="e", time=TIME, pet_id="101")
    assert codec.keys_named(raw) == ("k1",)
    assert codec.decode_fact(raw, Ring({"k1": KEY}))[1] == purge
    known = codec.decode_fact(raw, Ring({"k1": GONE}))[1]
    assert known == msgspec.structs.replace(purge, last_version=7, next_cluster=4)
    other = msgspec.structs.replace(purge, purge_id="p2")
    assert (
        codec.decode_fact(codec.encode_fact(other, event_id="e", time=TIME, pet_id="101"), Ring({"k1": GONE}))[1]
        == other
    )


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"secret": b"short"}, "secret"), ({"format": 2}, "format"), ({"destroyed": GONE.destroyed}, "secret")],
)
def test_a_record_that_is_no_key_is_refused(wrong: dict[str, object], field: str) -> None:
    assert decode_key(encode_key(KEY)) == KEY
    assert decode_key(encode_key(GONE)) == GONE
    with pytest.raises(DeadLetter, match=field):
        decode_key(encode_key(msgspec.structs.replace(KEY, **wrong)))
    assert repr(KEY.secret) not in repr(KEY)
    with pytest.raises(DeadLetter, match="not a key"):
        decode_key(b"\xc1")
