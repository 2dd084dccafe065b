"""Evaluation `order`: how much an engine's answer depends on the order in which the photos arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Final

import numpy as np
from rich.progress import Progress
from sklearn.metrics import adjusted_rand_score

from schemas.facts import Policy
from tests.bench.report import Cell, Report
from tests.evaluation import engines
from tests.evaluation.albums import ALBUMS, HERO, SEED
from tests.evaluation.cache import LabelledAlbum
from tests.evaluation.clusters import REPORT
from tests.evaluation.metrics import mean_and_error, scores, settled

SHUFFLES: Final = 10


def run(albums: Sequence[LabelledAlbum], policies: Mapping[str, Policy], progress: Progress) -> list[Report]:
    """Fold every album in `SHUFFLES` random orders, photo by photo, and compare the answers with each other."""
    reported = [a for a in albums if a.part == REPORT and a.kind != HERO]
    chosen = {level: [a for a in reported if a.level == level] for level in ALBUMS}
    task = progress.add_task("shuffles", total=len(policies) * sum(map(len, chosen.values())))
    rows: list[tuple[Cell, ...]] = []
    for name, policy in policies.items():
        for level, members in chosen.items():
            agreements, aris = [], []
            for album in members:
                agreement, ari = shuffled(album, policy)
                agreements.append(agreement)
                aris.append(ari)
                progress.advance(task)
            rows.append((name, level, *mean_and_error(agreements), min(agreements), float(np.mean(aris))))
    heads = ("engine", "level", "ARI between orders", "±", "worst album", "ARI to the truth")
    notes = (f"{SHUFFLES} random orders of each album of the reported part, all pairs of orders",)
    return [Report("order: agreement between orders of arrival", heads, tuple(rows), notes, 3)]


def shuffled(album: LabelledAlbum, policy: Policy) -> tuple[float, float]:
    """Mean ARI between the answers to `SHUFFLES` orders, and their mean ARI to the truth."""
    answers = []
    for seed in range(SHUFFLES):
        order = np.random.default_rng((SEED, seed)).permutation(len(album.images))
        found = engines.labels([album.images[index] for index in order], policy)
        answer = np.empty_like(found)
        answer[order] = settled(found)
        answers.append(answer)
    agreement = np.mean([adjusted_rand_score(one, other) for one, other in combinations(answers, 2)])
    return float(agreement), float(np.mean([scores(album.labels, answer).ari for answer in answers]))
