"""How well predicted groups agree with the true ones. Pure; used by clusters.py, order.py and the tests.

Labels are integers; a prediction below 0 means: in no cluster, a group of its own. True singletons have a label of
their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    adjusted_rand_score,
    completeness_score,
    homogeneity_score,
    normalized_mutual_info_score,
)
from sklearn.metrics.cluster import pair_confusion_matrix

Labels = NDArray[Any]


@dataclass(frozen=True)
class Scores:
    """Of one album. `found`: clusters of two or more, divided by the true ones. `alone`: share of the true singletons
    that lie alone, NaN without any. `pairs`: share of the true pairs that lie together (pair recall).
    """

    ari: float
    nmi: float
    purity: float
    homogeneity: float
    completeness: float
    pairs: float
    found: float
    alone: float


NAMES = tuple(field.name for field in fields(Scores))


def scores(true: Labels, predicted: Labels) -> Scores:
    """All metrics of one album, both arrays int[n]."""
    own = settled(predicted)
    together = pair_confusion_matrix(true, own)
    same = int(together[1, 1] + together[1, 0])
    return Scores(
        ari=float(adjusted_rand_score(true, own)),
        nmi=float(normalized_mutual_info_score(true, own)),
        purity=purity(true, own),
        homogeneity=float(homogeneity_score(true, own)),
        completeness=float(completeness_score(true, own)),
        pairs=int(together[1, 1]) / same if same else 1.0,
        found=clusters(own) / max(clusters(true), 1),
        alone=singletons_alone(true, own),
    )


def settled(predicted: Labels) -> Labels:
    """The prediction with a label of its own for everything that is in no cluster."""
    labels = np.array(predicted, dtype=np.int64)
    loose = labels < 0
    labels[loose] = max(int(labels.max(initial=0)), 0) + 1 + np.arange(int(loose.sum()))
    return labels


def clusters(labels: Labels) -> int:
    """How many groups have two members or more."""
    return int((np.unique(labels, return_counts=True)[1] > 1).sum())


def purity(true: Labels, own: Labels) -> float:
    """Share of the pictures that are of their predicted group's most frequent true group."""
    most = [np.unique(true[own == label], return_counts=True)[1].max() for label in np.unique(own)]
    return float(sum(most) / len(true))


def singletons_alone(true: Labels, own: Labels) -> float:
    """Share of the pictures that are alone in their true group that are alone in their predicted one, too."""
    alone = [_sizes(labels) == 1 for labels in (true, own)]
    return float((alone[0] & alone[1]).sum() / alone[0].sum()) if alone[0].any() else math.nan


def mean_and_error(samples: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error over albums; those where a metric means nothing (NaN) do not count."""
    known = [sample for sample in samples if not math.isnan(sample)]
    if not known:
        return math.nan, math.nan
    error = float(np.std(known, ddof=1) / math.sqrt(len(known))) if len(known) > 1 else math.nan
    return float(np.mean(known)), error


def columns(results: Sequence[Scores]) -> dict[str, list[float]]:
    """Metric → its value in each album."""
    return dict(zip(NAMES, map(list, zip(*map(astuple, results), strict=True)), strict=True))


def _sizes(labels: Labels) -> NDArray[np.int64]:
    """int[n]: how many lie in each picture's group."""
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    sizes: NDArray[np.int64] = counts[inverse]
    return sizes
