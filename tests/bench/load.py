"""Publishes jobs at random moments and notes when each becomes readable. Used by the benchmark `latency`.

Redis itself says when an answer was stored (keyspace notifications), so that nothing polls beside the service: on each,
the version at the end of the stored answer is read, and the clock stops when it has been read. A GET follows, which
must show that version.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from redis.asyncio import Redis

from app.local.ports import HOST
from projections.cache import stored_position
from tests.e2e.service import TOKEN, Service

_TAIL_BYTES: Final = 64
_DEADLINE_SECONDS: Final = 60.0


@dataclass
class JobTimes:
    """Seconds on the monotonic clock, `-1` while unknown. `published_at`: the same as `published`, Unix time."""

    pet_id: str
    job_id: str
    version: int
    published_at: float
    published: float
    cached: float = -1.0
    answered: float = -1.0


class Load:
    """Jobs of `images_per_job` images for `pets` in turn; each makes its pet's next version."""

    def __init__(self, service: Service, pets: list[str], image_ids: list[str], images_per_job: int, seed: int) -> None:
        self._service = service
        self._pets = pets
        self._image_ids = image_ids
        self._images_per_job = images_per_job
        self._random = random.Random(seed)
        self._versions: defaultdict[str, int] = defaultdict(int)
        self._waiting: defaultdict[str, list[JobTimes]] = defaultdict(list)
        self._tasks: set[asyncio.Task[None]] = set()
        self._redis: Any = Redis.from_url(service.redis_url)
        self._http: Any = None
        self._published = 0

    async def __aenter__(self) -> Load:
        await self._redis.config_set("notify-keyspace-events", "K$")
        self._http = aiohttp.ClientSession(headers={"X-Internal-Token": TOKEN})
        self._listener = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self._listener, *self._tasks):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self._http.close()
        await self._redis.aclose()

    async def run(self, jobs: int, per_second: float, advance: Callable[[], None]) -> list[JobTimes]:
        """Publish `jobs` as a Poisson process, whatever the service does; returns when the last one is readable.

        A grid of equal steps would fall into step with the service's own timers.
        """
        published, due = [], time.perf_counter()
        for _ in range(jobs):
            due += self._random.expovariate(per_second)
            await asyncio.sleep(max(due - time.perf_counter(), 0.0))
            published.append(self._publish())
            advance()
        deadline = time.perf_counter() + _DEADLINE_SECONDS
        while any(job.answered < 0 for job in published):
            self._raise_failures()
            if time.perf_counter() > deadline:
                late = next(job for job in published if job.answered < 0)
                raise TimeoutError(f"{late.job_id} of {late.pet_id} did not become readable")
            await asyncio.sleep(0.05)
        return published

    def _publish(self) -> JobTimes:
        pet_id = self._pets[self._published % len(self._pets)]
        self._published += 1
        self._versions[pet_id] += 1
        version = self._versions[pet_id]
        first = (version - 1) * self._images_per_job
        image_ids = self._image_ids[first : first + self._images_per_job]
        if len(image_ids) < self._images_per_job:
            raise ValueError(f"{pet_id} has no image left that it did not have before")
        job = JobTimes(pet_id, f"{pet_id}_job_{version:04}", version, time.time(), time.perf_counter())
        self._waiting[pet_id].append(job)
        self._service.publish(pet_id, job.job_id, image_ids)
        return job

    async def _listen(self) -> None:
        prefix = f"{self._service.namespace}:state:"
        async with self._redis.pubsub() as subscription:
            await subscription.psubscribe(f"__keyspace@*__:{prefix}*")
            async for message in subscription.listen():
                if message["type"] != "pmessage":
                    continue
                pet_id = message["channel"].decode().rpartition(prefix)[2]
                tail = await self._redis.getrange(f"{prefix}{pet_id}", -_TAIL_BYTES, -1)
                position = stored_position(tail)
                if position is not None:
                    self._settle(pet_id, position[1])

    def _settle(self, pet_id: str, version: int) -> None:
        now = time.perf_counter()
        waiting = self._waiting[pet_id]
        for job in [job for job in waiting if job.version <= version]:
            waiting.remove(job)
            job.cached = now
            task = asyncio.create_task(self._get(job))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    async def _get(self, job: JobTimes) -> None:
        url = f"http://{HOST}:{self._service.web_port}/internal/pets/{job.pet_id}/clusters"
        async with self._http.get(url) as response:
            answer = await response.json()
        if response.status != 200 or answer["version"] < job.version:
            raise RuntimeError(f"GET of {job.pet_id} does not show version {job.version}: {response.status} {answer}")
        job.answered = time.perf_counter()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            self._tasks.discard(task)  # a failed one stays for _raise_failures

    def _raise_failures(self) -> None:
        for task in (self._listener, *self._tasks):
            if task.done():
                task.result()
