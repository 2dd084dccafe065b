"""The evaluation's metrics on examples that can be checked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.evaluation.metrics import (
    clusters,
    columns,
    mean_and_error,
    purity,
    scores,
    settled,
    singletons_alone,
)

TRUE = np.array([0, 0, 0, 1, 1, 2, 3])
"""A burst of three, one of two, two singletons."""


def test_the_truth_scores_one_everywhere() -> None:
    found = scores(TRUE, np.array([5, 5, 5, 9, 9, -1, -1]))
    assert (found.ari, found.purity, found.pairs, found.found, found.alone) == (1, 1, 1, 1, 1)
    assert found.nmi == pytest.approx(1)
    assert found.homogeneity == pytest.approx(1)
    assert found.completeness == pytest.approx(1)


def test_a_small_example_by_hand() -> None:
    # One of the burst of three lies with the burst of two, one singleton with the burst of three.
    found = scores(TRUE, np.array([0, 0, 1, 1, 1, 0, -1]))
    # True pairs: 3 + 1 = 4, of which (0, 1) and (3, 4) lie together.
    assert found.pairs == pytest.approx(2 / 4)
    # Pairs that lie together: 3 + 3 = 6, of 21. ARI = (2 − 6·4/21) / ((6 + 4)/2 − 6·4/21).
    assert found.ari == pytest.approx((2 - 24 / 21) / (5 - 24 / 21))
    # Most frequent true group: 2 of 3, 2 of 3, 1 of 1.
    assert found.purity == pytest.approx(5 / 7)
    assert found.found == pytest.approx(2 / 2)
    assert found.alone == pytest.approx(1 / 2)


def test_splitting_everything_is_pure_and_finds_no_pair() -> None:
    found = scores(TRUE, np.arange(7))
    assert (found.purity, found.pairs, found.found, found.alone) == (1, 0, 0, 1)
    assert found.ari == 0


def test_one_heap_is_complete_and_leaves_no_singleton_alone() -> None:
    found = scores(TRUE, np.zeros(7))
    assert (found.completeness, found.pairs, found.alone) == (1, 1, 0)
    assert found.purity == pytest.approx(3 / 7)


def test_what_is_in_no_cluster_is_a_group_of_its_own() -> None:
    own = settled(np.array([-1, 4, -1, 4, 0]))
    assert len(np.unique(own)) == 4
    assert own[1] == own[3] == 4
    assert clusters(own) == 1
    assert len(np.unique(settled(np.array([-1, -1])))) == 2


def test_singletons_alone_and_purity_of_their_own() -> None:
    assert singletons_alone(TRUE, np.array([0, 0, 0, 1, 1, 1, 2])) == pytest.approx(1 / 2)
    assert math.isnan(singletons_alone(np.array([0, 0]), np.array([0, 1])))
    assert purity(np.array([0, 0, 1]), np.array([0, 0, 0])) == pytest.approx(2 / 3)


def test_mean_and_standard_error() -> None:
    mean, error = mean_and_error([1.0, 2.0, 3.0])
    assert mean == 2
    assert error == pytest.approx(1 / math.sqrt(3))
    assert mean_and_error([1.0, math.nan, 3.0])[1] == pytest.approx(1.0)
    assert all(map(math.isnan, mean_and_error([])))
    assert columns([scores(TRUE, TRUE)])["ari"] == [1.0]
