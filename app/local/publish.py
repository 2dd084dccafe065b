"""Puts jobs into the Redis Stream exactly as auth-service does. Called by app/local/demo.py and end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
from redis import Redis

from schemas.headers import timestamp

STREAM_MAXLEN: Final = 10_000


@dataclass(frozen=True)
class PublishedJob:
    """One batch of a pet's photos."""

    pet_id: str
    job_id: str
    image_ids: tuple[str, ...]


def batches(pet_id: str, image_ids: Sequence[str], *, size: int, run: str) -> list[PublishedJob]:
    """The pet's photos as jobs of at most `size` images; `run` keeps the job ids apart from those of other runs."""
    return [
        PublishedJob(pet_id, f"{run}-{pet_id}-{number}", tuple(image_ids[start : start + size]))
        for number, start in enumerate(range(0, len(image_ids), size), start=1)
    ]


def taking_turns(jobs_by_pet: Sequence[Sequence[PublishedJob]]) -> Iterator[PublishedJob]:
    """First jobs of all pets, then second ones, and so on: pets upload side by side."""
    for turn in range(max(map(len, jobs_by_pet), default=0)):
        yield from (jobs[turn] for jobs in jobs_by_pet if turn < len(jobs))


def entry_payload(job: PublishedJob, *, now: datetime) -> bytes:
    """The stream entry's field `payload`: an envelope with the whole request nested under its own `payload`."""
    request = {
        "pet_id": job.pet_id,
        "job_id": job.job_id,
        "reason": "insights_ready",
        "force": False,
        "payload": {"image_ids": job.image_ids},
        "metadata": {"triggered_by": "auth-service"},
    }
    envelope = {
        "job_id": job.job_id,
        "pet_id": job.pet_id,
        "payload": request,
        "attempts": 0,
        "enqueued_at": timestamp(now),
    }
    return msgspec.json.encode(envelope)


def publish(redis: Redis, stream_key: str, job: PublishedJob, *, now: datetime) -> None:
    """XADD one job. Raises redis.exceptions.RedisError."""
    redis.xadd(stream_key, {"payload": entry_payload(job, now=now)}, maxlen=STREAM_MAXLEN, approximate=True)
