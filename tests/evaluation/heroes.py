"""Evaluation `heroes`: does the answer name the one shot of a group that nothing spoils?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from rich.progress import Progress

from schemas.facts import Policy
from tables.heroes import candidate, own_parts, score
from tables.pet import Listed
from tests.bench.report import Cell, Report
from tests.evaluation import engines
from tests.evaluation.albums import HERO, PARTS
from tests.evaluation.cache import LabelledAlbum

Ranking = Callable[[LabelledAlbum], list[int]]
"""Indices of a group's pictures, best first; it may end early."""


def run(albums: Sequence[LabelledAlbum], policies: Mapping[str, Policy], progress: Progress) -> list[Report]:
    """The engines' heroes, and what simple rules would choose."""
    rankings: dict[str, Ranking] = {name: _published(policy) for name, policy in policies.items()}
    rankings |= RULES
    groups = {part: [a for a in albums if a.kind == HERO and a.part == part] for part in PARTS}
    task = progress.add_task("hero groups", total=len(rankings))
    rows: list[tuple[Cell, ...]] = []
    for name, ranking in rankings.items():
        cells: list[Cell] = []
        for part in PARTS:
            places = [place(group, ranking(group)) for group in groups[part]]
            thirds = [third(group) for group in groups[part]]
            cells.append(float(np.mean([p == 0 for p in places])))
            cells.append(float(np.mean([p < t for p, t in zip(places, thirds, strict=True)])))
        rows.append((name, *cells))
        progress.advance(task)
    rows.append(("random, expected", *(cell for part in PARTS for cell in chance(groups[part]))))
    heads = ("chosen by", *(f"{what}, {part}" for part in PARTS for what in ("best", "best third")))
    counts = ", ".join(f"{len(groups[part])} of the part {part}" for part in PARTS)
    notes = (f"groups: {counts}; best third: the true best is among the first ⌈n/3⌉",)
    return [Report("heroes: share of groups", heads, tuple(rows), notes, 3)]


def place(group: LabelledAlbum, ranking: Sequence[int]) -> float:
    """Where the undegraded picture stands in a ranking, from 0; infinity where it does not."""
    best = int(np.flatnonzero(group.best)[0])
    return ranking.index(best) if best in ranking else math.inf


def third(group: LabelledAlbum) -> int:
    """How many pictures are the best third."""
    return math.ceil(len(group.images) / 3)


def chance(groups: Sequence[LabelledAlbum]) -> tuple[float, float]:
    """What a random order reaches on average."""
    sizes = [(len(group.images), third(group)) for group in groups]
    return float(np.mean([1 / n for n, _ in sizes])), float(np.mean([t / n for n, t in sizes]))


def _published(policy: Policy) -> Ranking:
    """The heroes of the group's largest cluster, as the last version names them."""

    def ranking(group: LabelledAlbum) -> list[int]:
        found = engines.fold(group.images, policy)
        sizes = Counter(number for number in found.clusters.values() if number >= 0)
        if not sizes:
            return []
        ids = [image.image_id for image in group.images]
        largest = min(sizes, key=lambda number: (-sizes[number], number))
        return [ids.index(hero.image_id) for hero in found.heroes.get(largest, ())]

    return ranking


def _by(value: Callable[[LabelledAlbum], Sequence[float]]) -> Ranking:
    """The largest value first, the earlier picture of equals."""
    return lambda group: [int(index) for index in np.argsort(-np.asarray(value(group)), kind="stable")]


def _closeness(group: LabelledAlbum) -> list[float]:
    centre = group.units.sum(axis=0)
    return [float(cosine) for cosine in group.units @ centre]


def _hero_score(group: LabelledAlbum) -> list[float]:
    """The score that heroes are chosen by, of every picture, near-duplicates too, if all lie in one cluster."""
    others = (group.units @ group.units.sum(axis=0) - 1) / (len(group.images) - 1)
    return [
        score(candidate(Listed(i.image_id, 0.0, 0.0), i.phash, own_parts(i.quality, i.taken_at), float(mean)))
        for i, mean in zip(group.images, others, strict=True)
    ]


RULES: Final[Mapping[str, Ranking]] = {
    "first": lambda group: list(range(len(group.images))),
    "sharpest": _by(lambda group: [image.quality.sharpness for image in group.images]),
    "best quality score": _by(lambda group: [image.quality.score for image in group.images]),
    "closest to the centre": _by(_closeness),
    "score of heroes, all in one": _by(_hero_score),
    "most pixels": _by(lambda group: [image.width * image.height for image in group.images]),
}
