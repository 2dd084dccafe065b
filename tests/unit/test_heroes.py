"""Heroes: what their score is made of, near-duplicates counted once, and a hero that stays until clearly beaten."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.facts import UNMEASURED, Quality
from schemas.insights import Insight
from tables.duplicates import NEAR_BITS
from tables.heroes import (
    ALL,
    FULL,
    MARGIN,
    PARTS,
    UNKNOWN,
    candidate,
    elected,
    kept,
    near,
    own_parts,
    ranked,
    recency,
    score,
    shown_parts,
)
from tables.pet import HERO_CANDIDATES, Candidate, Listed

GOOD = Quality(0.7, 0.7, 0.7, 0.8, 0.6, 1.0, 0.95, 0.9)
SHOT = Listed("shot", 0.9, 0.7)
FAR = [(2**64 - 1) // 3 << 1 ^ ((1 << 16) - 1) << 16 * place for place in range(4)]
"""Hashes that differ from each other in at least 16 bits."""


def judged(quality: Quality = GOOD, closeness: float | None = 0.8, insight: Insight | None = None) -> float:
    return score(candidate(SHOT, 1, own_parts(quality, "2026-05-01T09:00:00", insight), closeness))


def of_worth(name: str, worth: int, phash: int = 0, hero: bool = False) -> Candidate:
    return Candidate(name, 0.9, 0.5, phash, (), worth, hero)


candidates = st.lists(
    st.builds(
        of_worth,
        name=st.uuids().map(str),
        worth=st.integers(0, ALL),
        phash=st.sampled_from([0, *FAR]).flatmap(lambda base: st.integers(0, 7).map(lambda bits: base ^ bits)),
    ),
    min_size=1,
    max_size=40,
)


@pytest.mark.parametrize(
    "part", ["sharpness", "exposure", "contrast", "resolution", "highlights", "cleanness", "evenness"]
)
def test_every_measured_part_counts(part: str) -> None:
    worse = msgspec.structs.replace(GOOD, **{part: getattr(GOOD, part) - 0.3})
    assert judged(worse) < judged()


def test_a_photo_nearer_to_its_cluster_shows_it_better() -> None:
    assert judged(closeness=0.6) < judged(closeness=0.8)
    assert judged(closeness=-0.5) == judged(closeness=0.0)


def test_what_was_not_measured_neither_raises_nor_ruins_a_score() -> None:
    old = Quality(0.7, 0.7, 0.7, 0.8, 0.6)
    assert old.evenness == UNMEASURED
    assert judged(msgspec.structs.replace(GOOD, highlights=0.3, cleanness=0.3, evenness=0.3)) < judged(old)
    assert abs(judged(old) - judged()) < 0.02
    shown = shown_parts(candidate(SHOT, 1, own_parts(old, ""), None))
    assert sorted(shown) == ["contrast", "exposure", "resolution", "sharpness"]


def test_a_photo_recorded_without_parts_is_judged_by_its_quality() -> None:
    better, worse = (candidate(Listed("a", 0.9, quality), 1, (), 0.8) for quality in (0.8, 0.4))
    assert score(worse) < score(better) < 1
    assert len(better.parts) == len(PARTS)


def test_insights_raise_a_score_and_say_so() -> None:
    plain, rated = judged(), judged(insight=Insight(quality_score=0.9))
    assert plain < judged(insight=Insight(quality_score=0.2)) < rated
    assert plain == judged(insight=Insight(pose="profile")) < judged(insight=Insight(pose="Frontal"))
    shown = shown_parts(candidate(SHOT, 1, own_parts(GOOD, "", Insight(quality_score=0.9, pose="frontal")), 0.8))
    assert (shown["insight"], shown["pose"]) == (0.9, 1.0)


def test_the_newer_of_equal_photos_is_better() -> None:
    times = ["1999-12-31T23:59:59", "2000-01-01T00:00:00", "2024-06-01T12:00:00", "2026-06-01T12:00:00", "2099-01-01"]
    values = [recency(time) for time in times]
    assert values == sorted(values)
    assert (values[0], values[1], values[-1]) == (0, 0, FULL)
    assert values[2] < values[3]


@pytest.mark.parametrize("text", ["", "yesterday", "20", "²⁰²⁶-05", "2026", "2026-xx-01"])
def test_a_time_that_is_none_is_unknown(text: str) -> None:
    assert recency(text) == UNKNOWN


def test_the_score_is_the_weighted_mean_of_its_parts() -> None:
    everything = candidate(SHOT, 1, [FULL] * (len(PARTS) - 1), 1.0)
    assert score(everything) == 1.0
    assert score(candidate(SHOT, 1, [0] * (len(PARTS) - 1), 0.0)) == 0.0
    half = candidate(SHOT, 1, own_parts(GOOD, "2026-05-01T09:00:00", Insight(quality_score=0.5, pose="frontal")), 0.8)
    shown = shown_parts(half)
    mean = sum(part.weight * shown[part.name] for part in PARTS) / sum(part.weight for part in PARTS)
    assert score(half) == pytest.approx(mean)


def test_near_duplicates_are_told_by_their_hashes() -> None:
    one = of_worth("a", 1, phash=FAR[0])
    assert near(one, of_worth("b", 1, phash=FAR[0] ^ (2**NEAR_BITS - 1)))
    assert not near(one, of_worth("b", 1, phash=FAR[0] ^ (2 ** (NEAR_BITS + 1) - 1)))
    assert not near(of_worth("a", 1), of_worth("b", 1)), "images without a hash"


def test_a_near_duplicate_is_no_second_hero() -> None:
    shots = [of_worth("a", 900, FAR[0]), of_worth("a2", 950, FAR[0] ^ 1), of_worth("b", 100, FAR[1])]
    assert [hero.image_id for hero in ranked(shots, 3)] == ["a2", "b"]


def test_a_hero_stays_until_another_is_better_by_the_margin() -> None:
    stays = of_worth("old", ALL // 2, FAR[0], hero=True)
    assert ranked([stays, of_worth("new", stays.worth + MARGIN - 1, FAR[1])], 2)[0] is stays
    assert ranked([stays, of_worth("new", stays.worth + MARGIN, FAR[1])], 2)[0].image_id == "new"
    twin = of_worth("twin", stays.worth + 1, FAR[0])
    assert [hero.image_id for hero in ranked([twin, stays], 3)] == ["old"], "nor for a near-duplicate of its own"


def test_of_two_heroes_of_merged_clusters_the_better_stays() -> None:
    shots = [of_worth("low", 100, FAR[0], hero=True), of_worth("high", 300, FAR[1], hero=True)]
    assert [hero.image_id for hero in ranked([*shots, of_worth("new", 301, FAR[2])], 3)] == ["high", "new", "low"]


def test_the_mark_moves_to_the_hero_and_only_then_changes_a_component() -> None:
    shots = list[Listed](kept([of_worth("a", 5, FAR[0], hero=True), of_worth("b", 9, FAR[1])]))
    assert elected(shots, "a") is None
    moved = elected(shots, "b")
    assert moved is not None
    assert {each.image_id: each.hero for each in moved if isinstance(each, Candidate)} == {"a": False, "b": True}


@given(candidates, st.integers(1, 6), st.randoms(use_true_random=False))
def test_the_best_is_never_lost_whatever_the_order_and_the_components(
    shots: list[Candidate], components: int, random: object
) -> None:
    """Bounded lists, filled image by image, give the hero that the whole album would give."""
    best = ranked(shots, 1)[0]
    lists: list[list[Listed]] = [[] for _ in range(components)]
    random.shuffle(shots)  # type: ignore[attr-defined]
    for place, shot in enumerate(shots):
        lists[place % components] = kept([*lists[place % components], shot])
    assert all(len(each) <= HERO_CANDIDATES for each in lists)
    assert ranked([shot for each in lists for shot in each], 1)[0] == best


@given(candidates)
def test_heroes_are_ranked_distinct_and_without_near_duplicates(shots: list[Candidate]) -> None:
    heroes = ranked(shots, 3)
    assert [hero.worth for hero in heroes] == sorted((hero.worth for hero in heroes), reverse=True)
    assert not any(near(one, other) for one in heroes for other in heroes if one is not other)
    unlike = [shot for shot in shots if not any(near(shot, hero) for hero in heroes)]
    assert len(heroes) == 3 or all(shot in heroes for shot in unlike)


@given(candidates)
def test_a_hero_changes_only_for_one_that_is_better_by_the_margin(shots: list[Candidate]) -> None:
    """Also when many slightly better ones come between: the hero never falls out of its component's list."""
    held: list[Listed] = []
    before: Candidate | None = None
    for shot in shots:
        held = kept([*held, shot])
        now = ranked(held, 1)[0]
        if before is not None and now.image_id != before.image_id:
            assert now.worth >= before.worth + MARGIN
        before, held = now, elected(held, now.image_id) or held


@given(st.lists(st.floats(-1, 1), min_size=7, max_size=7), st.text(max_size=12), st.none() | st.floats(-1, 1))
def test_any_measure_gives_a_score_between_0_and_1(parts: list[float], taken_at: str, closeness: float | None) -> None:
    shot = candidate(SHOT, 1, own_parts(Quality(0.5, *parts), taken_at), closeness)
    assert 0 <= score(shot) <= 1
    assert all(0 <= value <= 1 for value in shown_parts(shot).values())
