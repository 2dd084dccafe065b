"""The methods that the engines are compared with, each with the settings to choose from. Used by clusters.py.

All get the unit vectors of a whole album at once; MiniBatchKMeans is told the true number of groups, too. Only
`two-level` takes them one by one, in the order of arrival.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.cluster import DBSCAN, HDBSCAN, Birch, MiniBatchKMeans

Units = NDArray[np.float64]
Labels = NDArray[Any]
Cluster = Callable[[Units, int], Labels]
"""(unit vectors [n, d], true number of groups) → label of each, -1 for none."""

OLD_EPS: Final = 0.15
_TIGHT: Final = 0.8


@dataclass(frozen=True)
class Method:
    """`settings`: what it is called with → how it clusters; with more than one, the best on the tuning part counts."""

    name: str
    settings: Mapping[str, Cluster]


def batch_methods() -> list[Method]:
    """All of them, the predecessor's first."""
    return [
        Method("DBSCAN .15", {f"eps {OLD_EPS}": _dbscan(OLD_EPS)}),
        Method("DBSCAN best", {f"eps {eps:.3f}": _dbscan(eps) for eps in np.arange(0.15, 0.56, 0.025)}),
        Method("HDBSCAN", _hdbscan_settings()),
        Method("average linkage", {f"cosine {at:.3f}": _average(at) for at in np.arange(0.45, 0.81, 0.025)}),
        Method("Birch", {f"threshold {at:.2f}": _birch(at) for at in np.arange(0.25, 0.81, 0.05)}),
        Method("MiniBatchKMeans, true k", {"true k": _k_means}),
        Method("two-level, one pass", {f"cosine {at:.3f}": _two_level(at) for at in np.arange(0.5, 0.726, 0.025)}),
    ]


def _dbscan(eps: float) -> Cluster:
    """On cosine distance. Two pictures make a cluster, as in the fold's default policy."""
    return lambda units, _: DBSCAN(eps=eps, min_samples=2, metric="precomputed").fit_predict(_distances(units))


def _hdbscan_settings() -> dict[str, Cluster]:
    """Without `cluster_selection_epsilon`, with which scikit-learn's raises TypeError on numpy 2."""
    return {
        f"min {least}, samples {samples}, {how}": _hdbscan(least, samples, how)
        for least in (3, 2, 4)
        for samples in (1, 2, 3)
        for how in ("eom", "leaf")
    }


def _hdbscan(least: int, samples: int, how: str) -> Cluster:
    def cluster(units: Units, _: int) -> Labels:
        model = HDBSCAN(
            min_cluster_size=least,
            min_samples=samples,
            metric="precomputed",
            cluster_selection_method=how,
            copy=True,
        )
        found: Labels = model.fit_predict(_distances(units))
        return found

    return cluster


def _average(least: float) -> Cluster:
    """Groups whose mean pairwise cosine is at least `least`."""

    def cluster(units: Units, _: int) -> Labels:
        pairs = _distances(units)[np.triu_indices(len(units), 1)]
        found: Labels = fcluster(linkage(pairs, "average"), 1 - least, "distance")
        return found

    return cluster


def _birch(threshold: float) -> Cluster:
    return lambda units, _: Birch(threshold=threshold, n_clusters=None).fit_predict(units)


def _k_means(units: Units, k: int) -> Labels:
    found: Labels = MiniBatchKMeans(n_clusters=k, n_init=3, random_state=0).fit_predict(units)
    return found


def _two_level(least: float) -> Cluster:
    """Micro-clusters of a tight leader, kept as count and sum, grouped by their mean pairwise cosine of `least`."""

    def cluster(units: Units, _: int) -> Labels:
        sums: list[Units] = []
        micro = []
        for unit in units:
            cosines = [float(total @ unit) / float(np.linalg.norm(total)) for total in sums]
            best = int(np.argmax(cosines)) if cosines else -1
            if best < 0 or cosines[best] < _TIGHT:
                best = len(sums)
                sums.append(np.zeros_like(unit))
            sums[best] = sums[best] + unit
            micro.append(best)
        return _grouped(np.stack(sums), np.bincount(micro).astype(np.float64), least)[micro]

    return cluster


def _grouped(sums: Units, counts: Units, least: float) -> Labels:
    """int[k]: the group of each micro-cluster, by average linkage down to a mean pairwise cosine of `least`."""
    groups, counts, products = np.arange(len(sums)), counts.copy(), sums @ sums.T
    alive = np.ones(len(sums), np.bool_)
    while alive.sum() > 1:
        means = np.where(np.outer(alive, alive), products / np.outer(counts, counts), -1.0)
        np.fill_diagonal(means, -1.0)
        kept, gone = sorted(int(index) for index in np.unravel_index(np.argmax(means), means.shape))
        if means[kept, gone] < least:
            break
        products[kept] += products[gone]
        products[:, kept] += products[:, gone]
        counts[kept] += counts[gone]
        alive[gone] = False
        groups[groups == gone] = kept
    return groups


def _distances(units: Units) -> Units:
    """Cosine distance of each pair, [n, n]."""
    distances: Units = np.clip(1 - units @ units.T, 0, 2)
    np.fill_diagonal(distances, 0)
    return distances
