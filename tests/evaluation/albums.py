"""Labelled albums of three levels, planned from a seed; docs/evaluation.md describes them. Pure; used by cache.py.

    photographs ─ split by source into two parts ─ albums of shots, each with its label and seed ─ picture(): bytes

Kinds: ``mixed`` (bursts and singletons of anything), ``alike`` (all of one family of categories), ``places`` (subjects
pasted before places that groups share), ``hero`` (one burst, of which one picture is undegraded; see heroes.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np

from tests.evaluation.degraded import degraded, undegraded
from tests.evaluation.photographs import Photograph
from tests.evaluation.shots import VARIATIONS, copy, scene, shoot

SEED: Final = 20_261_122
PARTS: Final = ("tune", "report")
ALBUMS: Final[Mapping[str, Mapping[str, int]]] = {
    "easy": {"mixed": 6, "alike": 2, "places": 2},
    "medium": {"mixed": 4, "alike": 3, "places": 3},
    "hard": {"mixed": 2, "alike": 4, "places": 4},
}
"""How many albums of each kind a level has in each part."""
FAMILIES: Final = (
    ("cat", "big-cat"),
    ("zebra", "giraffe", "elephant"),
    ("dog", "bird", "insect", "primate", "wild", "sea"),
    ("person",),
    ("object",),
    ("place",),
)
FAMILY_LEAST: Final = 4
"""Photographs of a family that a part needs for albums of it."""
BURST: Final = (4, 20)
COPIES: Final = 0.12
HERO: Final = "hero"
HERO_GROUPS: Final = 40
HERO_SIZES: Final = (6, 9)
HERO_NATIVE: Final = 400
"""Longer side of a photograph that can be a best shot, pixels: a smaller one is no better than its degraded copies."""


@dataclass(frozen=True)
class Shot:
    """One picture of an album. `label`: its group; a singleton has one of its own. `place`: what it stands before.

    `seed`: of its own variation. `copy`: re-encode the picture of `seed` by this seed; empty for none. `best`: the
    undegraded one of a hero group.
    """

    source: str
    label: int
    seed: tuple[int, ...]
    place: str = ""
    copy: tuple[int, ...] = ()
    best: bool = False


@dataclass(frozen=True)
class Album:
    """Shots in the order in which they arrive."""

    name: str
    part: str
    level: str
    kind: str
    shots: tuple[Shot, ...]


def split(photographs: Sequence[Photograph], seed: int = SEED) -> dict[str, list[Photograph]]:
    """Part → its photographs: of every category one half each, by chance; no photograph is in both."""
    random = np.random.default_rng((seed, 0))
    parts: dict[str, list[Photograph]] = {part: [] for part in PARTS}
    turn = 0
    for category in sorted({p.category for p in photographs}):
        members = sorted((p for p in photographs if p.category == category), key=lambda p: p.name)
        for index in random.permutation(len(members)):
            parts[PARTS[turn % 2]].append(members[index])
            turn += 1
    return parts


def plan(
    photographs: Sequence[Photograph],
    seed: int = SEED,
    albums: Mapping[str, Mapping[str, int]] = ALBUMS,
    hero_groups: int = HERO_GROUPS,
) -> list[Album]:
    """All albums of both parts; the same photographs and seed give the same plan.

    Raises ValueError when a part has too few photographs of any family to make an album of it.
    """
    planned = []
    for number, (part, members) in enumerate(split(photographs, seed).items()):
        for level_number, (level, kinds) in enumerate(albums.items()):
            wanted = [kind for kind, count in kinds.items() for _ in range(count)]
            for index, kind in enumerate(wanted):
                identity = (seed, 1 + number, level_number, index)
                shots = _shots(kind, members, identity)
                planned.append(Album(f"{part}-{level}-{index:02}-{kind}", part, level, kind, shots))
        planned += _hero_groups(part, members, (seed, 1 + number, len(albums)), hero_groups)
    return planned


def picture(shot: Shot, album: Album, photographs: Mapping[str, Photograph]) -> bytes:
    """The JPEG of a shot; `photographs` by name. The same shot gives the same bytes."""
    random = np.random.default_rng(shot.seed)
    image = photographs[shot.source].image
    if album.kind == HERO:
        return undegraded(image, random) if shot.best else degraded(image, random)
    how = VARIATIONS[album.level]
    if shot.place:
        stand = np.random.default_rng((*album_seed(shot), shot.label))  # where a burst's subject stands, it stays
        at = (float(stand.uniform(0.1, 0.9)), float(stand.uniform(0.3, 1.0)))
        image = scene(image, photographs[shot.place].image, float(stand.uniform(*how.subject)), at)
    data = shoot(image, how, random)
    return copy(data, np.random.default_rng(shot.copy)) if shot.copy else data


def album_seed(shot: Shot) -> tuple[int, ...]:
    """The part of a shot's seed that all shots of its album have."""
    return shot.seed[:-1]


def _shots(kind: str, members: Sequence[Photograph], identity: tuple[int, ...]) -> tuple[Shot, ...]:
    random = np.random.default_rng(identity)
    subjects, places = _cast(kind, members, random)
    most = max(len(subjects) * 3 // 5 if kind == "mixed" else len(subjects) - 2, 2)
    bursts = int(random.integers(min(5, most), min(18, most) + 1))
    singles = int(random.integers(0, min(30, len(subjects) - bursts) + 1))
    stand = [places[int(random.integers(len(places)))].name if places else "" for _ in range(bursts + singles)]
    counts = [int(n) for n in random.integers(BURST[0], BURST[1] + 1, bursts)] + [1] * singles
    seeds = iter(range(sum(counts)))
    groups = [
        [Shot(subjects[label].name, label, (*identity, next(seeds)), stand[label]) for _ in range(count)]
        for label, count in enumerate(counts)
    ]
    return tuple(_arrival([_with_copies(group, random) for group in groups], random))


def _cast(
    kind: str, members: Sequence[Photograph], random: np.random.Generator
) -> tuple[list[Photograph], list[Photograph]]:
    """Subjects in random order, and the places before which they stand, if any."""
    if kind == "alike":
        families = [family for family in FAMILIES if sum(p.category in family for p in members) >= FAMILY_LEAST]
        if not families:
            raise ValueError(f"no family of categories has {FAMILY_LEAST} photographs among {len(members)}")
        family = families[int(random.integers(len(families)))]
        chosen = [p for p in members if p.category in family]
        return _shuffled(chosen, random), []
    if kind == "places":
        grounds = _shuffled([p for p in members if p.category == "place"], random)
        subjects = [p for p in members if p.category not in ("place", "texture", "plant")]
        return _shuffled(subjects, random)[:16], grounds[: int(random.integers(2, 5))]
    return _shuffled(members, random), []


def _shuffled(members: Sequence[Photograph], random: np.random.Generator) -> list[Photograph]:
    return [members[index] for index in random.permutation(len(members))]


def _with_copies(group: list[Shot], random: np.random.Generator) -> list[Shot]:
    """A few shots of a burst become copies of another one: the same pixels, encoded again."""
    shots = list(group)
    for number in range(1, len(group)):
        if random.random() < COPIES:
            original = group[int(random.integers(number))]
            shots[number] = replace(original, copy=group[number].seed)
    return shots


def _arrival(groups: Sequence[Sequence[Shot]], random: np.random.Generator) -> list[Shot]:
    """Bursts come in one to three visits, and the visits in any order."""
    visits: list[Sequence[Shot]] = []
    for group in groups:
        cuts = sorted({int(cut) for cut in random.integers(1, len(group) + 1, int(random.integers(0, 3)))})
        edges = [0, *cuts, len(group)]
        visits += [group[start:end] for start, end in pairwise(edges) if end > start]
    return [shot for index in random.permutation(len(visits)) for shot in visits[index]]


def _hero_groups(part: str, members: Sequence[Photograph], identity: tuple[int, ...], count: int) -> list[Album]:
    """One album a group, of different photographs that are large enough."""
    random = np.random.default_rng(identity)
    able = _shuffled([p for p in members if p.native >= HERO_NATIVE and p.category != "texture"], random)
    albums = []
    for index, source in enumerate(able[:count]):
        size = int(random.integers(HERO_SIZES[0], HERO_SIZES[1] + 1))
        best = int(random.integers(size))
        shots = tuple(Shot(source.name, 0, (*identity, index, n), best=n == best) for n in range(size))
        albums.append(Album(f"{part}-hero-{index:02}", part, HERO, HERO, shots))
    return albums
