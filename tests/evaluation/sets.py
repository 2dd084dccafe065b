"""Evaluation `sets`: what the labelled sets hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.progress import Progress

from schemas.facts import Policy
from tests.bench.report import Cell, Report
from tests.evaluation.albums import ALBUMS, HERO, PARTS
from tests.evaluation.cache import LabelledAlbum


def run(albums: Sequence[LabelledAlbum], policies: Mapping[str, Policy], progress: Progress) -> list[Report]:
    """Counts of each part and level. No policy matters to it."""
    rows: list[tuple[Cell, ...]] = []
    for part in PARTS:
        for level in (*ALBUMS, HERO):
            members = [a for a in albums if (a.part, a.level) == (part, level)]
            sizes = [len(a.labels) for a in members]
            groups = [np.unique(a.labels, return_counts=True)[1] for a in members]
            bursts, singles = (sum(int(found.sum()) for found in kind) for kind in _kinds(groups))
            copies = sum(len(a.pixels) - len(np.unique(a.pixels)) for a in members)
            rows.append((part, level, len(members), sum(sizes), min(sizes), max(sizes), bursts, singles, copies))
    heads = ("part", "level", "albums", "photos", "least", "most", "bursts", "singletons", "copies")
    return [Report("sets: what is in them", heads, tuple(rows))]


def _kinds(groups: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Which groups are bursts and which singletons, bool[groups] of each album."""
    return [sizes > 1 for sizes in groups], [sizes == 1 for sizes in groups]
