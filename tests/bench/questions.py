"""The questions that callers ask, of random pets of a made-up history. Used by the benchmark `scale`."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from schemas.ids import cluster_id
from tests.bench.album import JOB_IMAGES
from tests.e2e.service import Service
from tests.scale.history import Size, pet_name

Path = Callable[[random.Random], str]
_RECENT_DAYS: Final = 5
"""By then every pet of ten jobs in thirty days has a version."""


def questions(service: Service, size: Size) -> dict[str, Path]:
    """Kind → the path of one more such question; everything asked for is there."""
    versions, large = size.images // JOB_IMAGES, size.big // JOB_IMAGES
    big = f"/internal/pets/{pet_name(size.pets)}"

    def pet(rng: random.Random) -> str:
        return pet_name(rng.randrange(size.pets))

    def of_pet(rest: str) -> Path:
        return lambda rng: f"/internal/pets/{pet(rng)}{rest}"

    def uncached(rng: random.Random) -> str:
        pet_id = pet(rng)
        service.redis.delete(f"{service.namespace}:state:{pet_id}")
        return f"/internal/pets/{pet_id}/clusters"

    def image(rng: random.Random) -> str:
        pet_id = pet(rng)
        return f"/internal/pets/{pet_id}/images/{pet_id}_img_{rng.randrange(versions):05}_{rng.randrange(JOB_IMAGES)}"

    def members(rng: random.Random) -> str:
        pet_id = pet(rng)
        return f"/internal/pets/{pet_id}/clusters/{cluster_id(pet_id, 1)}/members?limit=50"

    def as_of(rng: random.Random) -> str:
        moment = datetime.now(UTC) - timedelta(days=_RECENT_DAYS) * rng.random()
        return f"/internal/pets/{pet(rng)}/clusters/as-of?time={moment:%Y-%m-%dT%H:%M:%SZ}"

    def job(rng: random.Random) -> str:
        pet_id = pet(rng)
        return f"/internal/jobs/{pet_id}_job_{rng.randrange(versions):05}?pet_id={pet_id}"

    return {
        "current, from the cache": of_pet("/clusters"),
        "current, read through": uncached,
        "at a version": lambda rng: f"/internal/pets/{pet(rng)}/clusters/{rng.randint(1, versions)}",
        "as of a time": as_of,
        "difference of two versions": of_pet(f"/diff?from={max(1, versions // 2)}&to={versions}"),
        "versions, a page": of_pet("/versions?limit=50"),
        "members of a cluster": members,
        "where an image lay": image,
        "jobs of a pet": of_pet("/jobs"),
        "a job": job,
        "jobs by state": lambda rng: "/internal/jobs?state=succeeded&limit=50",
        "large album: current": lambda rng: f"{big}/clusters",
        "large album: at a version": lambda rng: f"{big}/clusters/{rng.randint(1, large)}",
        "large album: difference": lambda rng: (
            f"{big}/diff?from={size.big // JOB_IMAGES - 10}&to={size.big // JOB_IMAGES}"
        ),
    }
