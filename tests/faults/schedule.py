"""Which fault strikes when: a pure function of the seed. Called by run.py.

Faults that strike the same thing share a lane and never overlap; lanes overlap freely:

    fold      ──[zombie────────]──[kill]────[state_lost──]──
    redis     ────[freeze───]────────[flush]──[stop────]────
    postgres  ──────────[kill──]──────────[disconnect]──────
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

SECONDS_A_STRIKE: Final = 15.0
"""Kinds strike again only as often as this in a lane: between two strikes there should be something to destroy."""


@dataclass(frozen=True)
class Kind:
    """A fault's name, its lane, and the shortest and longest time between inject and heal, in seconds.

    `rest`: seconds behind it in which nothing else strikes the lane, so that there is something to strike again.
    """

    name: str
    lane: str
    shortest: float
    longest: float
    rest: float = 1.5


@dataclass(frozen=True)
class Strike:
    """A fault that strikes `at` seconds after the load began and lasts `seconds`."""

    at: float
    seconds: float
    name: str
    lane: str


def plan(seed: int, seconds: float, kinds: Iterable[Kind]) -> list[Strike]:
    """The strikes of a run of `seconds` of load, in their order.

    Each kind strikes once, as far as its lane has room; what room is left takes further ones.
    """
    lanes: dict[str, list[Kind]] = defaultdict(list)
    for kind in sorted(kinds, key=lambda kind: (kind.lane, kind.name)):
        lanes[kind.lane].append(kind)
    strikes = []
    for lane in sorted(lanes):
        # A generator for each lane, so that a lane's strikes do not depend on which other faults were asked for.
        strikes += _fill_lane(random.Random(f"{seed}/{lane}"), seconds, lanes[lane])
    return sorted(strikes, key=lambda strike: (strike.at, strike.name))


def by_lane(strikes: Sequence[Strike]) -> dict[str, list[Strike]]:
    """The strikes of each lane, in their order."""
    lanes: dict[str, list[Strike]] = defaultdict(list)
    for strike in strikes:
        lanes[strike.lane].append(strike)
    return dict(lanes)


def _fill_lane(rng: random.Random, seconds: float, kinds: Sequence[Kind]) -> list[Strike]:
    chosen, room = _choose(rng, seconds, kinds)
    cuts = sorted(rng.uniform(0.0, room) for _ in chosen)
    strikes, at = [], 0.0
    for (kind, length), cut, before in zip(chosen, cuts, [0.0, *cuts], strict=False):
        at += cut - before
        strikes.append(Strike(round(at, 2), round(length, 2), kind.name, kind.lane))
        at += length + kind.rest
    return strikes


def _choose(rng: random.Random, room: float, kinds: Sequence[Kind]) -> tuple[list[tuple[Kind, float]], float]:
    """Kinds with their lengths in the order in which they strike, and the time that is left between them."""
    chosen: list[tuple[Kind, float]] = []
    most = max(len(kinds), int(room / SECONDS_A_STRIKE))
    while True:
        before = len(chosen)
        for kind in rng.sample(kinds, len(kinds)):
            length = rng.uniform(kind.shortest, kind.longest)
            if len(chosen) < most and length + kind.rest <= room:
                chosen.append((kind, length))
                room -= length + kind.rest
        if len(chosen) == before:
            return chosen, room
