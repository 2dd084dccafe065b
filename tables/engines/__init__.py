"""Clustering engines: how a mixture takes one more vector. Chosen by the policy that the log records.

A released (name, version) is never edited: replays of old logs depend on its every comparison. A change is a new
version beside it, entered in `_engines`; tests/replay holds a golden digest for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Protocol

from schemas.errors import StopProcess
from schemas.facts import Policy
from tables.clusters import Clusters
from tables.mixture import Mixture
from tables.vectors import Floats

LOOSE: Final = -1
"""The component of a vector that no component could take."""


@dataclass(frozen=True)
class Merge:
    """Component `source` ended in `target`.

    `source_score`: cosine of the source's old direction to the merged one. `target_score`: the same for a target that
    held one vector until now, else None.
    """

    source: int
    target: int
    source_score: float
    target_score: float | None = None


@dataclass(frozen=True)
class Placement:
    """What a mixture did with one vector.

    `joined`: the component that took it; `component`: where that lies after all merges; both LOOSE when none could.
    `score`: its cosine to the direction, itself included. `founder_score`: when it joined a component of one vector,
    that vector's cosine to the direction then, else None. `runner_up`: the second-best component at the time of choice
    (it may have merged since), or None. `evicted`: a component that was dropped to stay within the policy's bound, or
    None. `near`: components that the vector may be grouped with; `seen`: those looked at, the nearest first.
    """

    joined: int
    component: int
    opened: bool
    score: float
    founder_score: float | None = None
    runner_up: int | None = None
    runner_up_score: float = 0.0
    merges: tuple[Merge, ...] = ()
    evicted: int | None = None
    near: tuple[int, ...] = ()
    seen: tuple[int, ...] = ()


class Place(Protocol):
    """Places one vector, shape (d,) integer-valued, into a mixture and changes the mixture accordingly.

    `clusters`: what the components make up. `next_component` is the id to use when it opens a component. `likely`: the
    components to look at, None for all. Must be deterministic.
    """

    def __call__(
        self,
        mixture: Mixture,
        clusters: Clusters,
        vector: Floats,
        next_component: int,
        policy: Policy,
        likely: Sequence[int] | None = None,
    ) -> Placement:
        """Place `vector`; see the class."""
        ...


class Regroup(Protocol):
    """Says which components belong together, of those that `touched` and `near` have to do with; changes nothing.

    The groups are disjoint, and hold every component of each cluster of which they hold one.
    """

    def __call__(
        self, mixture: Mixture, clusters: Clusters, touched: Iterable[int], near: Iterable[int], policy: Policy
    ) -> list[list[int]]:
        """The groups; see the class."""
        ...


@dataclass(frozen=True)
class Engine:
    """What the fold needs of an engine. One without `regroup` makes each large enough component a cluster.

    `candidates`: how many of the components that stand before an event are worth an exact look at each of its vectors;
    those that the event itself has opened are looked at, too. 0: all.
    `regroup_all`: the groups of all components, asked for each time that an album has grown by half, and when it is
    folded anew.
    """

    place: Place
    candidates: int = 0
    regroup: Regroup | None = None
    regroup_all: Callable[[Mixture, Policy], list[list[int]]] | None = None


def engine_of(policy: Policy) -> Engine:
    """The engine that a policy names.

    Raises StopProcess when this release does not have it: folding on by another one would give other versions.
    """
    try:
        return _engines()[policy.engine, policy.engine_version]
    except KeyError:
        raise StopProcess(f"engine {policy.engine} {policy.engine_version} is not known to this release") from None


@cache
def _engines() -> dict[tuple[str, int], Engine]:
    """By name and version; a new one is entered here. They import this module, and each image asks for its engine."""
    from tables.engines import leader_merge_1, mixture_1

    return {
        ("leader-merge", 1): Engine(leader_merge_1.place),
        ("mixture", 1): Engine(mixture_1.place, mixture_1.CANDIDATES, mixture_1.regroup, mixture_1.regroup_all),
    }
