"""Evaluation `clusters`: every engine and every method it is compared with, on the same vectors.

What has settings gets the best ones of the tuning part, once for all levels; figures are those of the other part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from schemas.facts import Policy
from tests.bench.report import Cell, Report
from tests.evaluation import engines
from tests.evaluation.albums import ALBUMS, HERO
from tests.evaluation.cache import LabelledAlbum
from tests.evaluation.methods import Cluster, batch_methods
from tests.evaluation.metrics import NAMES, Scores, columns, mean_and_error, scores

TUNE, REPORT = "tune", "report"
COMPARED: Final = ("DBSCAN best", "HDBSCAN", "average linkage")
"""The batch methods that an engine must not fall behind."""
KINDS: Final = ("mixed", "alike", "places")
_FIRST: Final = "leader-merge 1"
_GRID: Final = ((0.5, 0.6), (0.55, 0.6), (0.55, 0.65), (0.6, 0.65), (0.6, 0.7), (0.65, 0.7), (0.65, 0.75), (0.7, 0.75))

Labelling = Callable[[LabelledAlbum], NDArray[Any]]


@dataclass(frozen=True)
class Contestant:
    """A method with the settings to choose from. `engine`: whether it is one of the service's own."""

    name: str
    settings: Mapping[str, Labelling]
    engine: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a contestant reached with the setting chosen. `scored`: album's name → scores, of the reported part."""

    contestant: Contestant
    setting: str
    tuned: float
    scored: Mapping[str, Scores]


def run(albums: Sequence[LabelledAlbum], policies: Mapping[str, Policy], progress: Progress) -> list[Report]:
    """One table a level, one of kinds, one of the chosen settings, one of what is lost to the best batch method."""
    albums = [album for album in albums if album.kind != HERO]
    contestants = everyone(policies)
    task = progress.add_task("methods", total=sum(len(c.settings) for c in contestants))
    outcomes = [compete(contestant, albums, lambda: progress.advance(task)) for contestant in contestants]
    reported = [album for album in albums if album.part == REPORT]
    return [
        chosen(outcomes),
        *(_level(level, outcomes, [a for a in reported if a.level == level]) for level in ALBUMS),
        _kinds(outcomes, reported),
        _lost(outcomes, reported),
    ]


def everyone(policies: Mapping[str, Policy]) -> list[Contestant]:
    """The engines under their policies, the first one tuned as well, and the batch methods."""
    found = [Contestant(name, {"as it is": _by(policy)}, engine=True) for name, policy in policies.items()]
    if _FIRST in policies:
        tuned = [msgspec.structs.replace(policies[_FIRST], join=join, merge=merge) for join, merge in _GRID]
        settings = {f"join {policy.join:.2f}, merge {policy.merge:.2f}": _by(policy) for policy in tuned}
        found.append(Contestant(f"{_FIRST}, best", settings, engine=True))
    batch = [
        Contestant(method.name, {name: _at_once(cluster) for name, cluster in method.settings.items()})
        for method in batch_methods()
    ]
    return [*found, *batch]


def _by(policy: Policy) -> Labelling:
    return lambda album: engines.labels(album.images, policy)


def _at_once(cluster: Cluster) -> Labelling:
    return lambda album: cluster(album.units, len(np.unique(album.labels)))


def compete(contestant: Contestant, albums: Sequence[LabelledAlbum], tell: Callable[[], None]) -> Outcome:
    """Choose by the mean ARI over the tuning part's albums, the first of equals, and score the reported part by it.

    `tell` is called after each setting.
    """
    means = {}
    for name, labelling in contestant.settings.items():
        tuned = [scores(a.labels, labelling(a)).ari for a in albums if a.part == TUNE]
        means[name] = float(np.mean(tuned))
        tell()
    setting = max(means, key=lambda name: means[name])
    labelling = contestant.settings[setting]
    scored = {a.name: scores(a.labels, labelling(a)) for a in albums if a.part == REPORT}
    return Outcome(contestant, setting, means[setting], scored)


def chosen(outcomes: Sequence[Outcome]) -> Report:
    rows = tuple((o.contestant.name, len(o.contestant.settings), o.setting, o.tuned) for o in outcomes)
    notes = ("chosen by the mean ARI over the tuning part's albums of all levels",)
    return Report(
        "clusters: settings, chosen on the tuning part", ("method", "tried", "chosen", "ARI there"), rows, notes, 3
    )


def _level(level: str, outcomes: Sequence[Outcome], albums: Sequence[LabelledAlbum]) -> Report:
    rows: list[tuple[Cell, ...]] = []
    for outcome in outcomes:
        found = columns([outcome.scored[album.name] for album in albums])
        means = {name: mean_and_error(found[name]) for name in NAMES}
        rows.append((outcome.contestant.name, *means["ari"], *(means[name][0] for name in NAMES[1:])))
    notes = (
        f"means over {len(albums)} albums, {sum(len(a.labels) for a in albums):,} photos; ±: the mean's standard error",
        "pairs: share of the true pairs that lie together; found: clusters of ≥ 2, per true one; "
        "alone: share of the singletons left alone",
    )
    return Report(f"clusters: {level}, the reported part", ("method", "ARI", "±", *NAMES[1:]), tuple(rows), notes, 3)


def _kinds(outcomes: Sequence[Outcome], albums: Sequence[LabelledAlbum]) -> Report:
    cells = [(level, kind) for level in ALBUMS for kind in KINDS]
    rows: list[tuple[Cell, ...]] = []
    for outcome in outcomes:
        means = [
            mean_and_error([outcome.scored[a.name].ari for a in albums if (a.level, a.kind) == cell])[0]
            for cell in cells
        ]
        rows.append((outcome.contestant.name, *means))
    heads = tuple(f"{level} {kind}" for level, kind in cells)
    return Report("clusters: mean ARI by kind, the reported part", ("method", *heads), tuple(rows), (), 3)


def _lost(outcomes: Sequence[Outcome], albums: Sequence[LabelledAlbum]) -> Report:
    """Engine minus the best of the batch methods, album by album."""
    rows: list[tuple[Cell, ...]] = []
    for level in ALBUMS:
        names = [a.name for a in albums if a.level == level]
        rivals = [o for o in outcomes if o.contestant.name in COMPARED]
        best = max(rivals, key=lambda o: np.mean([o.scored[name].ari for name in names]))
        for outcome in (o for o in outcomes if o.contestant.engine):
            gaps = [outcome.scored[name].ari - best.scored[name].ari for name in names]
            gap, error = mean_and_error(gaps)
            held = "yes" if math.isnan(error) or gap >= -error else "NO"
            rows.append((level, outcome.contestant.name, best.contestant.name, gap, error, min(gaps), held))
    heads = ("level", "engine", "best batch method", "ARI gained", "±", "worst album", "not lost")
    notes = ("not lost: the mean is not below 0 by more than its standard error",)
    return Report("clusters: engines against the best batch method", heads, tuple(rows), notes, 3)
