"""Which jobs are submitted, and how often: a function of the seed. Called by load.py."""

from __future__ import annotations

import random
from typing import Final

from tests.faults.ledger import Order
from tests.faults.storage import MISSING

PETS: Final = tuple(f"pet-{number}" for number in range(6))
WITHOUT_IMAGES: Final = 0.03
ALL_MISSING: Final = 0.03
WITH_MISSING: Final = 0.1
FORCED: Final = 0.05
FIVE_TIMES: Final = 0.06
BIG_EVERY: Final = 90
"""One job in so many has more images than a command takes."""
BIG: Final = (70, 130)
KNOWN_PART: Final = 0.3
"""Of a big job's images: named before, by others."""


def is_big(number: int) -> bool:
    """Whether this job is one of several parts; the first comes early, so that short runs have one too."""
    return number % BIG_EVERY == 20


def order(rng: random.Random, number: int) -> Order:
    """Mostly new images, now and then one that another job of the pet has named before."""
    pet_id, job_id, kind = rng.choice(PETS), f"job-{number}", rng.random()
    if is_big(number):
        return Order(pet_id, job_id, _big_album(rng, pet_id, number))
    if kind < WITHOUT_IMAGES:
        return Order(pet_id, job_id, ())
    image_ids = [f"{pet_id}-{rng.randrange(number * 4 + 4)}" for _ in range(rng.randint(1, 3))]
    if kind < WITHOUT_IMAGES + ALL_MISSING:
        image_ids = [f"{MISSING}-{number}"]
    elif kind < WITHOUT_IMAGES + ALL_MISSING + WITH_MISSING:
        image_ids.append(f"{MISSING}-{number}")
    return Order(pet_id, job_id, tuple(dict.fromkeys(image_ids)), force=rng.random() < FORCED)


def times(rng: random.Random, wanted: Order) -> int:
    """How often it is submitted; forced ones are repeated more often."""
    if wanted.force:
        return rng.choice((1, 2, 5))
    return 5 if rng.random() < FIVE_TIMES else 1


def _big_album(rng: random.Random, pet_id: str, number: int) -> tuple[str, ...]:
    count = rng.randint(*BIG)
    before = [f"{pet_id}-{rng.randrange(number * 4 + 4)}" for _ in range(int(count * KNOWN_PART))]
    fresh = [f"{pet_id}-big-{number}-{index}" for index in range(count - len(before))]
    image_ids = [*before, *fresh, f"{MISSING}-{number}"]
    rng.shuffle(image_ids)
    return tuple(dict.fromkeys(image_ids))
