"""Which images show a cluster best: the parts of their score, who stays a candidate, who is a hero. Pure; used by the
fold.

    image ──▶ parts, 0…1000 each ──▶ worth ──▶ candidates of its component ──▶ heroes of the cluster

A score is a weighted mean of parts that are measured once, so that of two images the better one is always the same, and
a component needs to keep no more than its best ones. The weights were found on the part "tune" of the evaluation
(docs/evaluation.md). All arithmetic is that of integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from schemas.facts import EmbeddedImage, Quality
from schemas.insights import Insight
from tables.duplicates import NO_HASH, is_near
from tables.pet import HERO_CANDIDATES, Candidate, Listed, Rated

FULL: Final = 1000
UNKNOWN: Final = -1


class Part(NamedTuple):
    """A part of the score. `typical` stands for it where it was not measured."""

    name: str
    weight: int
    typical: int


PARTS: Final = (
    Part("sharpness", 20, 600),
    Part("exposure", 2, 650),
    Part("contrast", 5, 800),
    Part("resolution", 8, 550),
    Part("highlights", 20, 1000),
    Part("cleanness", 20, 980),
    Part("evenness", 20, 860),
    Part("recency", 4, 500),
    Part("insight", 10, 0),
    Part("pose", 5, 0),
    Part("closeness", 25, 750),
)
"""The last one depends on the cluster; the others are the image's own, and 0 to `MEASURED` are its measured quality."""
MEASURED: Final = 7
ALL: Final = FULL * sum(part.weight for part in PARTS)
MARGIN: Final = ALL // 200
"""By how much a hero must be beaten: 0.005 of the score. A larger one keeps the first good shot before the best."""
FRONTAL: Final = ("frontal", "front")
"""Poses that show the animal best."""
FIRST_YEAR: Final = 2000
YEARS: Final = 50


def rated_of(image: EmbeddedImage, score: float) -> Rated:
    """As `tables.pet.waiting_of`, with the parts of the image's own."""
    own = own_parts(image.quality, image.taken_at, image.insight)
    quality = image.quality.score
    return Rated(image.image_id, score, quality, image.phash, image.width, image.height, image.taken_at, own)


def own_parts(quality: Quality, taken_at: str, insight: Insight | None = None) -> tuple[int, ...]:
    """All parts but closeness, `UNKNOWN` where they were not measured or said."""
    measured = (
        quality.sharpness,
        quality.exposure,
        quality.contrast,
        quality.resolution,
        quality.highlights,
        quality.cleanness,
        quality.evenness,
    )
    said = Insight() if insight is None else insight
    given = UNKNOWN if said.quality_score is None else _thousandths(said.quality_score)
    pose = UNKNOWN if said.pose is None else FULL * (said.pose.lower() in FRONTAL)
    return (*map(_thousandths, measured), recency(taken_at), given, pose)


def recency(taken_at: str) -> int:
    """0 in January 2000, 1000 from 2050 on: a year is 20. UNKNOWN for an image without a time (ISO 8601)."""
    year, month = taken_at[:4], taken_at[5:7]
    if not (year.isascii() and year.isdigit() and month.isascii() and month.isdigit()):
        return UNKNOWN
    months = (int(year) - FIRST_YEAR) * 12 + int(month) - 1
    return min(max(months, 0) * FULL // (12 * YEARS), FULL)


def candidate(image: Listed, phash: int, parts: Sequence[int], closeness: float | None) -> Candidate:
    """An image that may be a hero. `parts`: its own, empty for one that was recorded without them; then its quality
    stands for all that it was made of. `closeness`: mean cosine to the others of its cluster, None for one alone.
    """
    if not parts:
        parts = (*[_thousandths(image.quality)] * 4, *[UNKNOWN] * (len(PARTS) - 5))
    near = UNKNOWN if closeness is None else _thousandths(max(closeness, 0.0))
    parts = (*parts, near)
    return Candidate(image.image_id, image.score, image.quality, phash, parts, _worth(parts))


def beside(image: Listed, closeness: float) -> Candidate:
    """A candidate that was alone, now that others lie in its cluster."""
    before = _judged(image)
    parts = (*before.parts[:-1], _thousandths(max(closeness, 0.0)))
    return msgspec.structs.replace(before, parts=parts, worth=_worth(parts))


def score(candidate: Candidate) -> float:
    """The score of a hero, 0…1."""
    return candidate.worth / ALL


def shown_parts(candidate: Candidate) -> dict[str, float]:
    """Name → value 0…1 of the parts that were measured."""
    return {part.name: value / FULL for part, value in zip(PARTS, candidate.parts, strict=True) if value >= 0}


def kept(candidates: Iterable[Listed]) -> list[Listed]:
    """The candidates that a component keeps, best first, at most `HERO_CANDIDATES`.

    One stands for its near-duplicates, but the hero of the cluster always stays beside it.
    """
    found: list[Candidate] = []
    ordered = _ordered(candidates)
    room = HERO_CANDIDATES - sum(each.hero for each in ordered)
    for each in ordered:
        if each.hero:
            found.append(each)
        elif room > 0 and not any(near(each, other) for other in found if not other.hero):
            found.append(each)
            room -= 1
    return list(found)


def ranked(candidates: Iterable[Listed], most: int) -> list[Candidate]:
    """The heroes of a cluster, best first, at most `most`, none a near-duplicate of another.

    Who was the hero stays it until another is better by `MARGIN`; of several, as of clusters that merged, the best.
    """
    ordered = _ordered(candidates)
    stays = next((each for each in ordered if each.hero), None)
    if stays is not None and ordered[0].worth < stays.worth + MARGIN:
        ordered = [stays, *(each for each in ordered if each is not stays)]
    found: list[Candidate] = []
    for each in ordered:
        if len(found) == most:
            break
        if not any(near(each, other) for other in found):
            found.append(each)
    return found


def first_of(pinned: Sequence[Listed], others: Iterable[Candidate]) -> list[Listed]:
    """The pinned heroes, then the others that are no near-duplicates of them."""
    chosen = [_judged(each) for each in pinned]
    rest = [each for each in others if not any(each.image_id == pin.image_id or near(each, pin) for pin in chosen)]
    return [*chosen, *rest]


def near(one: Candidate, other: Candidate) -> bool:
    """Whether two images are near-duplicates: the same picture, encoded, resized or cropped anew."""
    return is_near(one.phash, other.phash)


def _ordered(candidates: Iterable[Listed]) -> list[Candidate]:
    return sorted(map(_judged, candidates), key=lambda each: (-each.worth, each.image_id))


def _judged(image: Listed) -> Candidate:
    return image if isinstance(image, Candidate) else candidate(image, NO_HASH, (), None)


def elected(candidates: Sequence[Listed], hero: str) -> list[Listed] | None:
    """The candidates of a component, with the mark on the image `hero` alone; None where nothing changes."""
    if all(isinstance(each, Candidate) and each.hero == (each.image_id == hero) for each in candidates):
        return None
    return [msgspec.structs.replace(each, hero=each.image_id == hero) for each in _ordered(candidates)]


def _worth(parts: Sequence[int]) -> int:
    return sum(part.weight * (value if value >= 0 else part.typical) for part, value in zip(PARTS, parts, strict=True))


def _thousandths(value: float) -> int:
    """Whole thousandths of 0…1, UNKNOWN below 0."""
    return UNKNOWN if not value >= 0 else round(min(value, 1.0) * FULL)
