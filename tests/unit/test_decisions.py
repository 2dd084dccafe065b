"""Users' decisions, one by one: what each does, and why one is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from schemas.facts import (
    MIXTURE_POLICY,
    ImagesRemoved,
    ModelPromoted,
    PetPurged,
    Policy,
    PolicyChanged,
    ReclusterRequested,
)
from schemas.ids import UNCLUSTERED
from schemas.public import ClustersUpdated
from schemas.topics import PARTITION_FACTS_KEY
from schemas.versions import DecidedVersion, GroupedVersion, PetVersion
from tables import decide, store
from tables.bisection import smaller_half
from tables.rules import REMOVED
from tests.albums import DIMENSION, Directions, image
from tests.decided_albums import PET, Album
from tests.unit.test_fold import TIME, entry


@pytest.fixture
def album() -> Album:
    """Three clusters: a0…a3 are 0, b0…b2 are 1, c0 and c1 are 2; x is alone."""
    return grown(Album())


def grown(album: Album) -> Album:
    directions = Directions(3)
    for name, number in (("a", 4), ("b", 3), ("c", 2), ("x", 1)):
        burst = directions.new()
        for shot in range(number):
            photo = image(f"{name}{shot}" if number > 1 else name, directions.near(burst), shot / 10)
            album.photos(photo)
    assert album.clusters() == {0: ("Cluster 0", 4), 1: ("Cluster 1", 3), 2: ("Cluster 2", 2)}
    return album


def of(album: Album, number: int) -> str:
    """The images of a cluster."""
    return " ".join(sorted(image_id for image_id, at in album.lies().items() if at == number))


def refused(album: Album, kind: str, at: int = 0, **arguments: Any) -> tuple[str, str]:
    versions = len(album.versions)
    settled = album.decide(kind, at=at, **arguments)
    assert not settled.accepted
    assert len(album.versions) == versions == settled.version, "a refused decision makes no version"
    return settled.code, settled.reason


def test_a_rename_is_the_label_of_the_cluster_and_of_what_is_sent(album: Album) -> None:
    settled = album.decide("rename", cluster=1, name="  Bella ")
    assert settled.accepted
    assert (settled.cluster, settled.images, settled.version) == (1, 0, len(album.versions))
    assert album.clusters()[1] == ("Bella", 3)
    version = album.versions[-1]
    assert isinstance(version, DecidedVersion)
    assert {change.decision for change in version.members} == {settled.decision_id}
    snapshot = msgspec.json.decode(album.replay.store.pet(PET).snapshot, type=ClustersUpdated)
    assert [cluster.label for cluster in snapshot.clusters if cluster.id.endswith("-1")] == ["Bella"]
    album.add(ReclusterRequested(request_id="again"))
    assert album.clusters()[1] == ("Bella", 3)


def test_a_decision_alone_changes_no_hero(album: Album) -> None:
    heroes = {number: album.heroes(number)[0] for number in (0, 1, 2)}
    for number in heroes:
        album.decide("rename", cluster=number, name=f"Name {number}")
        assert {each: album.heroes(each)[0] for each in heroes} == heroes


def test_a_pinned_hero_stays_the_first(album: Album) -> None:
    best = album.heroes(0)[0]
    other = next(image_id for image_id in ("a0", "a1") if image_id != best)
    assert album.decide("pin_hero", cluster=0, image_id=other).accepted
    assert album.heroes(0)[0] == other
    album.photos(image("a9", Directions(3).near(Directions(3).new(), 0.1), 1.0))
    assert album.heroes(0)[0] == other
    assert refused(album, "not_here", cluster=0, image_ids=[other]) == (
        "conflict", f"decision {album.settled[0].decision_id} (pin_hero) holds: image {other} is a hero of cluster 0",
    )  # fmt: skip
    assert album.decide("undo", decision_id=album.settled[0].decision_id).accepted
    assert refused(album, "pin_hero", cluster=0, image_id="b0")[0] == "moved_on"


def test_merged_clusters_have_the_number_of_the_first_and_come_apart_again(album: Album) -> None:
    settled = album.decide("merge", clusters=[1, 0])
    assert (settled.cluster, settled.images) == (1, 4)
    assert of(album, 1) == "a0 a1 a2 a3 b0 b1 b2"
    ended = [cluster for cluster in album.versions[-1].clusters if cluster.merged_into >= 0]
    assert [(cluster.number, cluster.merged_into) for cluster in ended] == [(0, 1)]
    assert refused(album, "rename", cluster=0, name="x") == (
        "moved_on", "cluster 0 is no longer there; its images went to cluster 1",
    )  # fmt: skip
    undone = album.decide("undo", decision_id=settled.decision_id)
    assert (undone.undoes, undone.images) == (settled.decision_id, 4)
    assert album.clusters() == {0: ("Cluster 0", 4), 1: ("Cluster 1", 3), 2: ("Cluster 2", 2)}
    assert album.replay.store.pet(PET).rules is None
    assert not isinstance(decided_next(album), DecidedVersion)


def decided_next(album: Album) -> PetVersion:
    album.photos(image("later", Directions(9).near(Directions(9).new())))
    assert isinstance(album.versions[-1], GroupedVersion)
    return album.versions[-1]


def test_later_photos_follow_those_that_a_decision_has_moved(album: Album) -> None:
    directions = Directions(3)
    burst = directions.new()
    album.decide("merge", clusters=[2, 0])
    album.photos(image("a9", directions.near(burst, 0.2)))
    assert of(album, 2) == "a0 a1 a2 a3 a9 c0 c1"
    album.add(ReclusterRequested(request_id="again"))
    assert of(album, 2) == "a0 a1 a2 a3 a9 c0 c1"


def test_a_split_makes_a_new_cluster_that_never_comes_back(album: Album) -> None:
    settled = album.decide("split", cluster=0, image_ids=["a1", "a2"])
    assert settled.cluster == 3
    assert (of(album, 3), of(album, 0)) == ("a1 a2", "a0 a3")
    change = next(cluster for cluster in album.versions[-1].clusters if cluster.number == 3)
    assert getattr(change, "split_from", None) == 0
    album.add(ReclusterRequested(request_id="again"))
    assert (of(album, 3), of(album, 0)) == ("a1 a2", "a0 a3")
    assert refused(album, "merge", clusters=[0, 3])[0] == "conflict"
    assert refused(album, "together", image_ids=["a0", "a1"])[1].endswith("images a1 and a0 were set apart")
    assert refused(album, "split", cluster=1, image_ids=["b0", "b1", "b2"])[0] == "conflict"
    assert refused(album, "split", cluster=1, image_ids=["a0"])[0] == "moved_on"


def test_a_split_in_two_is_by_likeness() -> None:
    directions = Directions(5)
    left, right = directions.new(), directions.new()
    rows = [directions.near(left, 0.3) for _ in range(5)] + [directions.near(right, 0.3) for _ in range(3)]
    assert smaller_half(rows) == [5, 6, 7]
    assert smaller_half(rows[:1] * 4) == []
    album = grown(Album())
    album.decide("merge", clusters=[0, 2])
    settled = album.decide("split", cluster=0)
    assert of(album, settled.cluster) == "c0 c1"
    assert refused(album, "split", cluster=0, image_ids=["x"])[0] == "moved_on"


def test_an_image_that_is_not_here_is_in_no_cluster_until_it_belongs_to_others(album: Album) -> None:
    first = album.decide("not_here", cluster=0, image_ids=["a1"])
    assert album.lies()["a1"] == UNCLUSTERED
    assert album.clusters()[0][1] == 3
    assert refused(album, "together", image_ids=["a1", "a0", "a2"]) == (
        "conflict", f"decision {first.decision_id} (not_here) holds: image a1 is not in cluster 0",
    )  # fmt: skip
    assert album.decide("together", image_ids=["a1", "b0"]).cluster == 1
    assert refused(album, "merge", clusters=[1, 0])[0] == "conflict"
    assert of(album, 1) == "a1 b0 b1 b2"


def test_images_of_no_cluster_that_belong_together_are_one(album: Album) -> None:
    album.decide("not_here", cluster=2, image_ids=["c1"])
    settled = album.decide("together", image_ids=["c1", "x"])
    assert settled.accepted
    assert of(album, settled.cluster) == "c1 x"
    assert settled.cluster not in (0, 1, 2)
    assert album.decide("together", image_ids=["x", "b0", "b1"]).cluster == 1
    assert of(album, 1) == "b0 b1 b2 c1 x", "what belongs together moves together"


def test_a_removed_image_is_in_no_answer_and_comes_back_by_an_undo(album: Album) -> None:
    settled = album.decide("remove_images", image_ids=["a0", "x"])
    assert "a0" not in album.lies()
    assert (album.versions[-1].image_count, album.versions[-1].unclustered_count) == (8, 0)
    assert refused(album, "pin_hero", cluster=0, image_id="a0") == ("not_found", "image a0 is not in the album")
    album.decide("undo", decision_id=settled.decision_id)
    assert (album.lies()["a0"], album.lies()["x"]) == (0, UNCLUSTERED)


def test_images_that_are_gone_where_they_came_from_leave_the_album(album: Album) -> None:
    album.add(ImagesRemoved(request_id="r1", image_ids=("a0", "never", "a0")))
    album.add(ImagesRemoved(request_id="r1", image_ids=("a1",)))
    album.add(ImagesRemoved(request_id="r2", image_ids=("never",)))
    assert of(album, 0) == "a1 a2 a3"
    assert len(album.versions) == 11
    assert not album.settled


def test_a_decision_at_an_old_version_is_refused_only_where_somebody_has_decided_about_the_same(album: Album) -> None:
    at = len(album.versions)
    first = album.decide("rename", at=at, cluster=0, name="Rex")
    album.photos(image("y", Directions(8).near(Directions(8).new())))
    code, reason = refused(album, "rename", at=at, cluster=0, name="Max")
    assert (code, first.decision_id in reason) == ("moved_on", True)
    assert album.decide("rename", at=at, cluster=1, name="Max").accepted
    assert refused(album, "rename", at=99, cluster=0, name="Max")[0] == "not_found"
    assert refused(album, "rename", cluster=9, name="Max") == ("not_found", "there is no cluster 9")


def test_what_was_decided_on_top_is_to_be_undone_before(album: Album) -> None:
    split = album.decide("split", cluster=0, image_ids=["a1", "a2"])
    named = album.decide("rename", cluster=split.cluster, name="Rex")
    code, reason = refused(album, "undo", decision_id=split.decision_id)
    assert (code, named.decision_id in reason) == ("conflict", True)
    assert album.decide("undo", decision_id=named.decision_id).accepted
    assert album.decide("undo", decision_id=split.decision_id).accepted
    assert refused(album, "undo", decision_id=split.decision_id)[0] == "not_found"


def test_a_decision_is_settled_once(album: Album) -> None:
    album.decide("rename", as_id="same", cluster=0, name="Rex")
    versions = len(album.versions)
    with pytest.raises(AssertionError):
        album.decide("rename", as_id="same", cluster=0, name="Max")
    assert len(album.versions) == versions
    refused(album, "rename", cluster=9, name="x")


def test_decisions_hold_under_another_model_before_and_after_its_vectors_come(album: Album) -> None:
    album.decide("together", image_ids=["a0", "b0", "x"])
    album.decide("rename", cluster=2, name="Rex")
    album.decide("remove_images", image_ids=["a3"])
    album.add(ModelPromoted(model="other@1", dimension=DIMENSION), PARTITION_FACTS_KEY)
    directions = Directions(77)
    photos = [image(name, directions.near(directions.new())) for name in ("a0", "b0", "x", "a3", "c0", "c1")]
    for photo in photos:
        album.photos(photo, model="other@1")
        lies = album.lies()
        assert lies["a0"] == lies["b0"] == lies["x"] >= 0
        assert lies["c0"] == lies["c1"] == 2
        assert "a3" not in lies
    assert album.clusters()[2][0] == "Rex"
    assert album.versions[-1].image_count == 9


def test_images_that_are_gone_are_no_decision_of_anybody(album: Album) -> None:
    removed = album.decide("remove_images", image_ids=["a0"])
    album.add(ImagesRemoved(request_id="r1", image_ids=("a0", "a1")))
    assert refused(album, "undo", decision_id="r1")[0] == "not_found"
    assert album.decide("undo", decision_id=removed.decision_id).accepted
    assert of(album, 0) == "a2 a3", "what is gone where it came from does not come back"
    assert album.decide("rename", as_id="r1", cluster=0, name="Rex").accepted, "another kind of id"


def test_clusters_whose_best_photos_are_all_held_elsewhere_still_have_a_hero() -> None:
    album, directions = Album(), Directions(4)
    burst = directions.new()
    good = [image(f"g{shot}", directions.near(burst, 0.2), 0.9) for shot in range(12)]
    album.photos(*good)
    album.decide("not_here", cluster=0, image_ids=[photo.image_id for photo in good])
    poor = [image(f"p{shot}", directions.near(burst, 0.2), 0.1) for shot in range(2)]
    album.photos(*poor)
    assert of(album, 0) == "p0 p1"
    assert set(album.heroes(0)) == {"p0", "p1"}


def test_labels_of_images_that_lie_elsewhere_do_not_count() -> None:
    album, directions = Album(), Directions(4)
    burst = directions.new()
    album.photos(*(image(f"d{shot}", directions.near(burst, 0.2)) for shot in range(3)), labels=("dog",))
    album.photos(*(image(f"c{shot}", directions.near(burst, 0.2)) for shot in range(2)), labels=("cat",))
    assert album.clusters() == {0: ("dog", 5)}
    album.decide("not_here", cluster=0, image_ids=["d0", "d1", "d2"])
    assert album.clusters() == {0: ("cat", 2)}
    album.add(ReclusterRequested(request_id="again"))
    assert album.clusters() == {0: ("cat", 2)}


def test_a_merged_cluster_has_its_own_last_name_or_that_of_the_other(album: Album) -> None:
    for name in ("Old", "New"):
        album.decide("rename", cluster=1, name=name)
    album.decide("merge", clusters=[0, 1])
    assert album.clusters()[0][0] == "New"
    album.decide("rename", cluster=0, name="Own")
    assert album.clusters()[0][0] == "Own"


def test_an_undone_name_is_told_also_where_the_cluster_holds_nothing_of_it_any_more(album: Album) -> None:
    directions = Directions(3)
    burst = directions.new()
    named = album.decide("rename", cluster=0, name="Rex")
    album.decide("remove_images", image_ids=["a0", "a1", "a2", "a3"])
    album.photos(*(image(f"n{shot}", directions.near(burst, 0.1)) for shot in range(2)))
    assert album.clusters()[0] == ("Rex", 2)
    assert album.decide("undo", decision_id=named.decision_id).accepted
    assert album.clusters()[0] == ("Cluster 0", 2)


def test_who_saw_what_has_been_undone_since_is_refused(album: Album) -> None:
    merged = album.decide("merge", clusters=[0, 1])
    seen = len(album.versions)
    album.decide("undo", decision_id=merged.decision_id)
    code, reason = refused(album, "rename", at=seen, cluster=0, name="Both")
    assert (code, f"undone at version {seen + 1}" in reason) == ("moved_on", True)
    assert album.decide("rename", cluster=0, name="Both").accepted


def test_images_that_only_another_model_has_embedded_are_in_the_album(album: Album) -> None:
    directions = Directions(6)
    album.photos(*(image(f"o{shot}", directions.near(directions.new())) for shot in range(2)), model="other@9")
    assert (album.versions[-1].image_count, album.versions[-1].unclustered_count) == (12, 3)
    assert album.decide("together", image_ids=["o0", "x"]).accepted
    assert album.lies()["o0"] == album.lies()["x"] >= 0
    assert album.versions[-1].unclustered_count == 1


def test_no_decision_is_taken_by_an_engine_that_obeys_none_nor_behind_its_policy(album: Album) -> None:
    album.add(PolicyChanged(policy=Policy()), PARTITION_FACTS_KEY)
    assert refused(album, "rename", cluster=0, name="Rex")[0] == "conflict"
    outputs = album.replay.apply(len(album.log), *entry(ImagesRemoved(request_id="r", image_ids=("a0",))))
    assert [output.channel for output in outputs] == ["deadletter"]


def test_decisions_hold_under_a_policy_whose_engine_obeys_none(album: Album) -> None:
    other = grown(Album())
    other.add(PolicyChanged(policy=Policy()), PARTITION_FACTS_KEY)
    other.photos(image("y", Directions(8).near(Directions(8).new())))
    assert refused(other, "rename", cluster=0, name="Rex")[0] == "conflict"
    album.decide("merge", clusters=[1, 0])
    album.add(PolicyChanged(policy=Policy()), PARTITION_FACTS_KEY)
    album.photos(image("y", Directions(8).near(Directions(8).new())))
    album.add(ReclusterRequested(request_id="again"))
    assert of(album, 1) == "a0 a1 a2 a3 b0 b1 b2"
    assert album.versions[-1].policy_id == MIXTURE_POLICY.policy_id


def test_a_purge_forgets_all_decisions(album: Album) -> None:
    album.decide("rename", cluster=0, name="Rex")
    album.replay.apply(len(album.log), *entry(PetPurged(purge_id="p", accepted_until=TIME)))
    pet = album.replay.store.pet(PET)
    assert (pet.rules, pet.image_count) == (None, 0)


def test_too_many_decisions_are_refused(album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "MAX_DECISIONS", 2)
    for name in ("one", "two"):
        album.decide("rename", cluster=0, name=name)
    assert refused(album, "rename", cluster=0, name="three")[0] == "too_many"
    monkeypatch.setattr(decide, "MAX_DECISIONS", 9)
    monkeypatch.setattr(decide, "MAX_HELD", 20)
    assert refused(album, "rename", cluster=1, name="three")[0] == "too_many"


def test_a_decision_whose_version_cannot_be_kept_is_refused_and_changes_nothing(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = album.replay.store.pet(PET).rules
    monkeypatch.setattr(store, "MAX_RECORD_BYTES", 900)
    code, reason = refused(album, "rename", cluster=0, name="Rex")
    assert (code, "too large" in reason) == ("too_many", True)
    assert album.replay.store.pet(PET).rules is before is None


def test_removed_is_no_cluster_of_anything(album: Album) -> None:
    album.decide("remove_images", image_ids=["a0"])
    album.decide("rename", cluster=0, name="Rex")
    rules = album.replay.store.pet(PET).rules
    assert rules is not None
    assert rules.parts.keys() == {0}
    groups = album.replay.store.pet(PET).groups.values()
    assert sum(group.taken.by.get(REMOVED, 0) for group in groups if group.taken) == 1
