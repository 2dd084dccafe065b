"""How two answers are compared: the index as scikit-learn has it, missing photos, heroes, what counts and as what."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from app.compare.agreement import Agreement, adjusted_rand_index, compare_albums
from app.compare.albums import Album
from app.compare.report import Frame, markdown, verdict
from app.compare.totals import WORST, PetResult, Totals, quantiles

THERE = Album(
    clusters={"p-cluster-0": ("a", "b", "c"), "p-cluster-1": ("d", "e")},
    heroes={"p-cluster-0": ("a",), "p-cluster-1": ("e",)},
)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_the_index_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    rows, columns = zip(*pairs, strict=True)
    assert adjusted_rand_index(pairs) == pytest.approx(adjusted_rand_score(rows, columns), abs=1e-12)


@pytest.mark.parametrize("pairs", [[], [(0, 0)], [(0, 0), (0, 0)], [(0, 0), (1, 1)]])
def test_trivial_partitions_are_the_same(pairs: list[tuple[int, int]]) -> None:
    assert adjusted_rand_index(pairs) == 1


def test_the_same_grouping_under_other_names_and_in_other_order_agrees() -> None:
    here = Album(
        clusters={"p-cluster-7": ("e", "d"), "p-cluster-3": ("c", "a", "b", "f")},
        heroes={"p-cluster-7": ("d", "e"), "p-cluster-3": ("a", "f")},
        loose=("g",),
    )
    assert compare_albums(THERE, here) == Agreement(
        ari=1.0, photos_there=5, photos_here=7, missing=(), only_here=2, clusters_there=2, clusters_here=2,
        heroes=2, heroes_same=1, heroes_known=2,
    )  # fmt: skip


def test_photos_that_are_missing_or_in_no_cluster_here_count_against_the_grouping() -> None:
    whole = Album(clusters={"x": ("a", "b", "c"), "y": ("d", "e")}, heroes={})
    loose = Album(clusters={"x": ("a", "b"), "y": ("d", "e")}, heroes={}, loose=("c",))
    lost = Album(clusters={"x": ("a", "b"), "y": ("d", "e")}, heroes={})
    expected = adjusted_rand_score([0, 0, 0, 1, 1], [0, 0, 2, 1, 1])
    assert compare_albums(THERE, whole).ari == 1
    assert compare_albums(THERE, loose).ari == compare_albums(THERE, lost).ari == pytest.approx(expected)
    assert (compare_albums(THERE, loose).missing, compare_albums(THERE, lost).missing) == ((), ("c",))
    nothing = compare_albums(THERE, Album(clusters={}, heroes={}))
    assert (nothing.ari, nothing.missing, nothing.heroes_same) == (0, ("a", "b", "c", "d", "e"), 0)


def test_where_the_predecessor_lists_nothing_there_is_nothing_to_agree_with() -> None:
    found = compare_albums(Album(clusters={}, heroes={}), Album(clusters={"x": ("a", "b")}, heroes={"x": ("a",)}))
    assert (found.ari, found.photos_there, found.only_here, found.heroes) == (None, 0, 2, 0)


def result(pet_id: str, ari: float | None = None, **more: Any) -> PetResult:
    agreement = Agreement(
        ari=ari, photos_there=2, photos_here=2, missing=(), only_here=0, clusters_there=1, clusters_here=1,
        heroes=1, heroes_same=1, heroes_known=1,
    )  # fmt: skip
    return PetResult(pet_id=pet_id, **{"outcome": "both", "lists_photos": True, "agreement": agreement, **more})


def test_what_a_pet_counts_as() -> None:
    totals = Totals()
    totals.add(result("agrees", 1.0, seconds_there=0.1, seconds_here=0.2))
    totals.add(result("half", 0.5, seconds_there=0.3, seconds_here=0.1))
    totals.add(result("lost", outcome="missing_here", agreement=None))
    totals.add(result("away", outcome="error", agreement=None, lists_photos=False, error="this service: HTTP 500: |"))
    for uncounted in ("missing_there", "neither", "both", "missing_here"):
        totals.add(result(uncounted, outcome=uncounted, agreement=None, lists_photos=False))
    assert (totals.asked, totals.compared, totals.agreement) == (8, 4, 1.5 / 4)
    assert [each.pet_id for each in totals.worst()] == ["lost", "away", "half"]
    assert verdict(totals, 0.375) == (True, "agreement 0.375, at least 0.375 as demanded")
    assert verdict(totals, 0.38)[0] is False
    text = markdown(Frame(began="now", there="t", here="h", pets="8 pets", least=0.38), totals)
    assert "**Agreement 0.375, below 0.38 as demanded.**" in text
    assert "| away | 0.000 |  |  |  |  |  |  |  | this service: HTTP 500: \\| |" in text
    table = [line for line in text.splitlines() if line.startswith("| ") and " pet " not in line]
    assert {line.replace("\\|", "").count("|") for line in table} == {3, 11}


def test_nothing_compared_is_no_agreement() -> None:
    totals = Totals()
    totals.add(result("none", outcome="neither", agreement=None, lists_photos=False))
    enough, sentence = verdict(totals, -1)
    assert (enough, sentence.partition(":")[0]) == (False, "nothing could be compared")
    assert markdown(Frame(began="now", there="t", here="h", pets="1 pets", least=0), totals)


def test_only_the_worst_are_named_the_lowest_first() -> None:
    totals = Totals()
    for number in range(3 * WORST):
        totals.add(result(f"pet-{number}", (number * 7 % (3 * WORST)) / (3 * WORST)))
    named = [each.score() for each in totals.worst()]
    assert named == [number / (3 * WORST) for number in range(WORST)]


@given(st.lists(st.floats(0, 10), min_size=1, max_size=50))
def test_quantiles_are_values_that_were_seen(seconds: list[float]) -> None:
    found = quantiles(seconds)
    assert found is not None
    assert found["max"] == max(seconds)
    assert set(found.values()) <= set(seconds)
    assert sum(each <= found["p50"] for each in seconds) * 2 >= len(seconds)
    assert sum(each <= found["p95"] for each in seconds) * 100 >= 95 * len(seconds)
