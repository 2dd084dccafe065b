"""Evaluation `duplicates`: pictures that are the same pixels encoded anew, found by their hashes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Final

from rich.progress import Progress

from schemas.facts import Policy
from tests.bench.report import Cell, Report
from tests.evaluation.albums import ALBUMS, HERO
from tests.evaluation.cache import LabelledAlbum

NEAR_BITS: Final = 10


def run(albums: Sequence[LabelledAlbum], policies: Mapping[str, Policy], progress: Progress) -> list[Report]:
    """Share of pairs within `NEAR_BITS` bits of each other, by what the pair is. No policy matters to it."""
    rows: list[tuple[Cell, ...]] = []
    for level in ALBUMS:
        near, pairs = [0, 0, 0], [0, 0, 0]
        for album in (a for a in albums if a.level == level and a.kind != HERO):
            for one, other in combinations(range(len(album.images)), 2):
                kind = _kind(album, one, other)
                pairs[kind] += 1
                near[kind] += (album.images[one].phash ^ album.images[other].phash).bit_count() <= NEAR_BITS
        shares = [found / max(count, 1) for found, count in zip(near, pairs, strict=True)]
        rows.append((level, pairs[0], shares[0], shares[1], pairs[2], near[2]))
    heads = ("level", "copies", "found", "other shots of the burst", "pairs of other groups", "taken for copies")
    notes = (f"pairs whose perceptual hashes differ in at most {NEAR_BITS} of 64 bits, both parts",)
    return [Report("duplicates: re-encoded pictures", heads, tuple(rows), notes, 3)]


def _kind(album: LabelledAlbum, one: int, other: int) -> int:
    """0: the same pixels; 1: the same group; 2: other groups."""
    if album.pixels[one] == album.pixels[other]:
        return 0
    return 1 if album.labels[one] == album.labels[other] else 2
