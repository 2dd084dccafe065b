"""Two groupings of a pet compared: partners, what has moved, agreement as scikit-learn has it; the sums."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score

from app.compare.albums import Album
from app.whatif.comparison import NONE, Change, Difference, compare, summed
from app.whatif.work import keep_changes

PLACES = st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 4)), min_size=1, max_size=40)
"""The cluster of each photo today, and what if; -1: none."""


def album(places: list[int], prefix: str = "c", heroes: dict[str, str] | None = None) -> Album:
    clusters = {
        f"{prefix}{number}": tuple(f"photo-{n}" for n, place in enumerate(places) if place == number)
        for number in sorted(set(places) - {-1})
    }
    first = {name: (photos[0],) for name, photos in clusters.items()}
    loose = tuple(f"photo-{n}" for n, place in enumerate(places) if place == -1)
    return Album(
        clusters=clusters, heroes=first | {name: (hero,) for name, hero in (heroes or {}).items()}, loose=loose
    )


def compared(pairs: list[tuple[int, int]], prefix: str = "c") -> Difference:
    return compare("pet", album([old for old, _ in pairs]), album([new for _, new in pairs], prefix))


def test_partners_share_most_photos_and_what_does_not_follow_them_has_moved() -> None:
    today = album([0, 0, 0, 1, 1, -1, 2, 2], heroes={"c1": "photo-4"})
    what_if = album([7, 7, -1, 5, 5, 5, 7, 7], "w")
    found = compare("pet", today, what_if)
    assert (found.photos, found.moved) == (8, 4), "2 and 5, and the cluster that 7 has taken over"
    assert (found.clusters_today, found.clusters_what_if) == (3, 2)
    assert (found.made, found.lost) == ((), ("c2",))
    assert found.heroes == (("c1", "w5", "photo-4", "photo-3"),)
    assert found.changes == (
        Change(
            today="c0", what_if="w7", hero_today="photo-0", hero_what_if="photo-0", stay=("photo-0", "photo-1"),
            leave=(("photo-2", NONE),), arrive=(("photo-6", "c2"), ("photo-7", "c2")),
        ),
        Change(
            today="c1", what_if="w5", hero_today="photo-4", hero_what_if="photo-3", stay=("photo-3", "photo-4"),
            leave=(), arrive=(("photo-5", NONE),),
        ),
        Change(
            today="c2", what_if=NONE, hero_today="photo-6", hero_what_if="", stay=(),
            leave=(("photo-6", "w7"), ("photo-7", "w7")), arrive=(),
        ),
        Change(
            today=NONE, what_if=NONE, hero_today="", hero_what_if="", stay=(),
            leave=(("photo-5", "w5"),), arrive=(("photo-2", "c0"),),
        ),
    )  # fmt: skip


def test_a_cluster_that_nobody_had_is_made_and_its_photos_have_moved() -> None:
    found = compared([(0, 0), (0, 0), (0, 1), (-1, 1)])
    assert (found.made, found.lost, found.moved) == (("c1",), (), 2)
    (leaving,) = [change.leave for change in found.changes if change.today == "c0"]
    assert leaving == (("photo-2", "c1"),)


def test_photos_that_one_side_lacks_are_counted_apart() -> None:
    found = compare("pet", album([0, 0, 0, -1]), album([0, 0]))
    assert (found.ari, found.photos, found.moved) == (1, 2, 0)
    assert (found.only_today, found.only_what_if, found.differs) == (2, 0, True)


def test_of_a_pet_without_photos_nothing_can_be_said() -> None:
    found = compare("pet", album([]), album([]))
    assert (found.ari, found.photos, found.differs) == (None, 0, False)
    assert summed([found]).ari is None


@given(PLACES)
def test_the_agreement_is_scikit_learns_with_each_loose_photo_alone(pairs: list[tuple[int, int]]) -> None:
    sides = [[place if place >= 0 else 100 + n for n, place in enumerate(side)] for side in zip(*pairs, strict=True)]
    assert compared(pairs).ari == pytest.approx(adjusted_rand_score(*sides), abs=1e-12)


@given(PLACES)
def test_the_same_grouping_differs_in_nothing_whatever_its_clusters_are_called(pairs: list[tuple[int, int]]) -> None:
    found = compared([(old, old) for old, _ in pairs], "other")
    assert (found.ari, found.moved, found.differs, found.changes) == (1, 0, False, ())


@given(PLACES, st.permutations(range(5)))
def test_names_of_clusters_do_not_matter(pairs: list[tuple[int, int]], names: list[int]) -> None:
    one, other = compared(pairs), compared([(old, names[new] if new >= 0 else new) for old, new in pairs])
    assert (one.moved, len(one.made), len(one.lost)) == (other.moved, len(other.made), len(other.lost))
    assert one.ari == pytest.approx(other.ari)


@given(PLACES)
def test_what_is_told_of_the_clusters_adds_up(pairs: list[tuple[int, int]]) -> None:
    found = compared(pairs)
    assert len(found.made) - len(found.lost) == found.clusters_what_if - found.clusters_today
    left = [(photo, to) for change in found.changes for photo, to in change.leave]
    came = [(photo, of) for change in found.changes for photo, of in change.arrive]
    assert len(left) == len(came) == found.moved
    places = {f"photo-{n}": tuple(f"c{each}" if each >= 0 else NONE for each in pair) for n, pair in enumerate(pairs)}
    assert all(places[photo][1] == to for photo, to in left)
    assert all(places[photo][0] == of for photo, of in came)


@given(PLACES)
def test_partners_share_about_as_many_photos_as_any_pairing_could(pairs: list[tuple[int, int]]) -> None:
    """Largest overlap first is never below half of the best assignment; nothing is above it."""
    overlap = np.zeros((5, 5), int)
    for old, new in pairs:
        if old >= 0 and new >= 0:
            overlap[old, new] += 1
    best = overlap[linear_sum_assignment(overlap, maximize=True)].sum()
    loose = sum(old == new == -1 for old, new in pairs)
    kept = len(pairs) - compared(pairs).moved - loose
    assert best / 2 <= kept <= best


def test_sums_and_the_mean() -> None:
    found = [compared([(0, 0), (0, 0)]), compared([(0, 0), (0, 1)]), compare("empty", album([]), album([]))]
    totals = summed(found)
    assert (totals.pets, totals.pets_differing, totals.photos, totals.moved, totals.made) == (3, 1, 4, 1, 1)
    assert (totals.ari, totals.least) == (0.5, 0.0)


def test_only_the_pets_that_have_changed_most_keep_their_changes() -> None:
    found = [
        compare(name, album([0] * 4), album([0] * (4 - moved) + [1] * moved))
        for name, moved in (("a", 0), ("b", 1), ("c", 2), ("d", 0))
    ]
    kept = keep_changes(found, 1)
    assert [each.pet_id for each in kept] == ["c", "b", "a", "d"]
    assert [bool(each.changes) for each in kept] == [True, False, False, False]
    assert not any(each.changes for each in keep_changes(found, 0))
