"""The similarity index's pure parts: which clusters are due, and what a record of the log changes."""

from __future__ import annotations

import msgspec
import pytest

from projections.similar.directions import Standing, is_due
from projections.similar.facts import Embedded, Purged, Removed, change_of, is_ignored
from schemas.bounds import MAX_INDEXED_DIMENSION
from schemas.codec import encode_fact
from schemas.errors import DeadLetter, StopProcess
from schemas.facts import Fact, ImagesEmbedded, ImagesRemoved, ModelPromoted, PetPurged, ReclusterRequested
from schemas.pet_keys import NO_KEYS, PetKey
from tables.vectors import dequantize
from tests.albums import MODEL, Directions, embedded, image

TIME = "2026-11-21T08:00:00.000000+00:00"
KEY = PetKey(key_id="k1", pet_id="101", created_at=TIME, secret=bytes(range(32)))


@pytest.mark.parametrize(
    ("members", "counted", "due"),
    [(2, 2, False), (3, 2, True), (1, 2, True), (8, 8, False), (9, 8, True), (7, 8, True), (17, 16, False),
     (18, 16, True), (14, 16, True), (1124, 1000, False), (1125, 1000, True), (875, 1000, True)],
)  # fmt: skip
def test_a_cluster_is_due_when_an_eighth_of_it_has_changed(members: int, counted: int, due: bool) -> None:
    assert is_due(Standing(0, members, counted, False), whole=False) is due


def test_a_cluster_is_due_when_it_began_or_was_regrouped_or_all_are_looked_at() -> None:
    assert is_due(Standing(0, 2, None, False), whole=False)
    assert is_due(Standing(0, 1000, 1000, True), whole=False)
    assert is_due(Standing(0, 1000, 1000, False), whole=True)


def test_directions_made_while_a_cluster_grows_read_a_bounded_number_of_vectors_a_photo() -> None:
    counted, read = 2, 2
    for members in range(3, 20_001):
        if is_due(Standing(0, members, counted, False), whole=False):
            counted, read = members, read + members
    assert read / 20_000 < 10


def change(fact: Fact, *, key: str = "101", pet_id: str = "101") -> object:
    return change_of(7, key.encode(), encode_fact(fact, event_id="e", time=TIME, pet_id=pet_id), NO_KEYS)


def photos() -> ImagesEmbedded:
    directions = Directions(1)
    return embedded([image(name, directions.near(directions.new())) for name in ("a", "b")], enqueued_at=TIME)


def test_embedded_photos_are_their_whole_numbers() -> None:
    fact = photos()
    found = change(fact)
    assert isinstance(found, Embedded)
    assert (found.pet_id, found.model, found.dimension, found.enqueued_at) == ("101", MODEL, 64, TIME)
    assert [(photo.image_id, photo.log_offset) for photo in found.photos] == [("a", 7), ("b", 7)]
    assert [msgspec.json.decode(photo.vector) for photo in found.photos] == [
        dequantize(each.vector).tolist() for each in fact.images
    ]


def test_removals_and_purges_are_told_with_where_they_stand() -> None:
    assert change(ImagesRemoved(request_id="r", image_ids=("a",))) == Removed("101", ("a",), 7)
    assert change(PetPurged(purge_id="p", accepted_until=TIME)) == Purged("101", 7, TIME)


@pytest.mark.parametrize(
    "fact",
    [
        ModelPromoted(model=MODEL, dimension=64),
        ReclusterRequested(request_id="r"),
        embedded([]),
        msgspec.structs.replace(photos(), dimension=63),
        msgspec.structs.replace(photos(), dimension=MAX_INDEXED_DIMENSION + 1),
        embedded([image("a", b"\x00\x00" * 64)]),
        embedded([image("a/b", Directions(1).near(Directions(1).new()))]),
    ],
)
def test_facts_that_tell_of_no_usable_vector_change_nothing(fact: Fact) -> None:
    found = change(fact)
    assert found is None or (isinstance(found, Embedded) and found.photos == ())


def test_a_fact_under_another_key_changes_nothing_and_no_fact_is_told() -> None:
    assert change(photos(), key="102") is None
    assert change(photos(), key="/partition", pet_id="/partition") is None
    with pytest.raises(DeadLetter):
        change_of(7, b"101", b"no fact", NO_KEYS)
    with pytest.raises(DeadLetter):
        change_of(7, b"101", None, NO_KEYS)


def test_a_sealed_fact_needs_its_key() -> None:
    sealed = encode_fact(photos(), event_id="e", time=TIME, pet_id="101", key=KEY)
    with pytest.raises(StopProcess, match="k1"):
        change_of(7, b"101", sealed, NO_KEYS)


@pytest.mark.parametrize(
    ("until", "ignored"),
    [("", False), ("2026-11-21T07:59:59+00:00", False), (TIME, True), ("2026-11-21T10:00:00+01:00", True)],
)
def test_a_job_of_before_a_purge_is_ignored(until: str, ignored: bool) -> None:
    found = change(photos())
    assert isinstance(found, Embedded)
    assert is_ignored(found, until) is ignored
