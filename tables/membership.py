"""How sure it is that a photo belongs to its cluster, beside others and beside a cluster of its own. Pure.

The clusters are components of a directional mixture, spherical Cauchy distributions (Kato and McCullagh, "Some
properties of a Cauchy family on the sphere derived from the Möbius transformations", 2020), of density, relative to the
uniform one,

    q(x) = ((1 − ρ²) / (1 + ρ² − 2ρ cos θ))^(d−1)

with θ the angle to the cluster's direction. For large d its mean resultant length is R = 2ρ/(1 + ρ²), hence
ρ = (1 − √(1 − R²))/R. Real photos vary along few of the d dimensions; with d − 1 = `EXPONENT` the probabilities are
calibrated (docs/evaluation.md). R is the cluster's, with a prior of `PRIOR_COUNT` photos of R = `PRIOR_TIGHTNESS`. A
cluster weighs as much as it has photos, a new one `NEW_WEIGHT` (the concentration of a Chinese restaurant process;
Aldous, 1985) at the uniform density. It takes only + − × ÷ √, so that it has the same bits everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from typing import Final

from tables.clusters import Clusters, ClusterSum
from tables.mixture import Mixture
from tables.vectors import MAX_WEIGHT, SCALE, Floats

EXPONENT: Final = 16
PRIOR_COUNT: Final = 2.0
PRIOR_TIGHTNESS: Final = 0.85
NEW_WEIGHT: Final = 4.0
_SQUARINGS: Final = 4
"""x^16 = (((x²)²)²)²."""


@dataclass(frozen=True)
class Side:
    """A photo beside a cluster: the cosine to its direction, its tightness and how many vectors it holds."""

    cosine: float
    tightness: float
    weight: int


def side(vector: Floats, cluster: ClusterSum, *, inside: bool) -> Side:
    """A photo of `vector`, shape (d,), beside a cluster; `inside`: its sum holds the vector, which then is left out. A
    cluster of nothing else has cosine 0.
    """
    dot, square, weight, own = float(cluster.total @ vector), cluster.square, cluster.weight, float(vector @ vector)
    if inside:
        dot, square, weight = dot - own, square - 2 * dot + own, weight - 1
    if weight < 1 or square <= 0:
        return Side(0.0, 0.0, 0)
    length = sqrt(square)
    return Side(dot / (length * sqrt(own)), min(1.0, length / (weight * SCALE)), weight)


def own_side(mixture: Mixture, clusters: Clusters, component: int, vector: Floats) -> Side:
    """A photo that `component`, which lies in a cluster, has taken, beside what else the cluster holds."""
    held = clusters.sum(mixture, clusters.number(component))
    return side(vector, held, inside=mixture.weight(component) < MAX_WEIGHT)


def membership(own: Side, others: Iterable[Side]) -> float:
    """The posterior probability, 0…1, of the photo's own cluster, against `others` and a new one."""
    mass = _mass(own)
    return mass / (mass + sum(map(_mass, others)) + NEW_WEIGHT)


def _mass(side: Side) -> float:
    tightness = (PRIOR_COUNT * PRIOR_TIGHTNESS + side.weight * side.tightness) / (PRIOR_COUNT + side.weight)
    rho = (1 - sqrt(max(0.0, 1 - tightness * tightness))) / tightness
    rho = min(rho, 0.999)  # copies of one picture: the density has to stay finite
    density = (1 - rho * rho) / (1 + rho * rho - 2 * rho * side.cosine)
    for _ in range(_SQUARINGS):
        density *= density
    return side.weight * density
