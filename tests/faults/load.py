"""Submits jobs as callers do, until each is accepted, whatever is away meanwhile. Run by run.py beside the faults.

A submit whose outcome is unknown (a time-out, a lost connection) is repeated with the same job id: that is what callers
are told to do, and it is why a job may stand in the stream more often than it was accepted.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Coroutine
from typing import Any, Final

import aiohttp
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.local.ports import HOST
from tests.e2e.service import TOKEN
from tests.faults.ledger import Ledger, Post
from tests.faults.poison import POISON
from tests.faults.storage import MISSING
from tests.faults.supervised import SupervisedService
from tests.faults.waiting import until

PETS: Final = tuple(f"pet-{number}" for number in range(6))
JOBS_PER_SECOND: Final = 3.0
BY_HTTP: Final = 0.3
FIVE_TIMES: Final = 0.06
WITHOUT_IMAGES: Final = 0.03
WITH_MISSING: Final = 0.1
ALL_MISSING: Final = 0.03
POISON_PART: Final = 0.02
"""Far more than one in a thousand, so that every seed has some."""
AGAIN_SECONDS: Final = 0.25
XADD_TIMEOUT: Final = 3.0
POST_TIMEOUT: Final = 8.0


class Submitter:
    """Submits one job or entry after the other. `gate`: closed while the job stream must stay empty."""

    def __init__(self, service: SupervisedService, ledger: Ledger) -> None:
        self._service = service
        self._ledger = ledger
        self._redis: Any = Redis.from_url(service.redis_url, socket_timeout=XADD_TIMEOUT, socket_connect_timeout=1.0)
        self._http: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._adding = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def finish(self) -> None:
        """Wait until everything has been accepted."""
        while self._tasks:
            done, _ = await asyncio.wait(self._tasks)
            self._tasks -= done
            for task in done:
                task.result()

    async def close(self) -> None:
        """Stop submitting; what has not been accepted by now is nobody's promise."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.close()
        await self._redis.aclose()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Let a submit run beside the others; `close` waits for it."""
        self._tasks.add(asyncio.create_task(work))

    async def add(self, pet_id: str, job_id: str, image_ids: tuple[str, ...]) -> None:
        """XADD until Redis has it."""
        await self._add_until_accepted({"payload": _envelope(pet_id, job_id, image_ids)})
        self._ledger.accept(pet_id, job_id, image_ids, "redis")

    async def poison(self, fields: dict[bytes, bytes]) -> None:
        """XADD what can never become a job."""
        entry_id = await self._add_until_accepted(fields)
        self._ledger.poison[entry_id] = fields.get(b"payload", b"")

    async def post(self, pet_id: str, job_id: str, image_ids: tuple[str, ...]) -> None:
        """POST until the answer is 202."""
        payload = {"image_ids": list(image_ids)} if image_ids else {}
        body = {"pet_id": pet_id, "job_id": job_id, "reason": "insights_ready", "payload": payload}
        while True:
            begun = time.monotonic()
            status = await self._post_once(body)
            self._ledger.posts.append(Post(begun, time.monotonic(), status))
            if status == 202:
                self._ledger.accept(pet_id, job_id, image_ids, "http")
                return
            assert status in (0, 500, 503), f"POST of {body} was answered with {status}"
            await asyncio.sleep(AGAIN_SECONDS)

    async def hold(self) -> None:
        """Close the gate and wait until no XADD is under way."""
        self.gate.clear()
        await until(lambda: not self._adding)

    async def _add_until_accepted(self, fields: Any) -> str:
        while True:
            await self.gate.wait()
            self._adding += 1
            try:
                entry_id: bytes = await self._redis.xadd(self._service.stream, fields)
                return entry_id.decode()
            except (RedisError, OSError, TimeoutError):
                self._ledger.sends["redis refused or unknown"] += 1
            finally:
                self._adding -= 1
            await asyncio.sleep(AGAIN_SECONDS)

    async def _post_once(self, body: dict[str, Any]) -> int:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                headers={"X-Internal-Token": TOKEN}, timeout=aiohttp.ClientTimeout(total=POST_TIMEOUT)
            )
        url = f"http://{HOST}:{self._service.web_port}/internal/cluster-jobs"
        try:
            async with self._http.post(url, json=body) as response:
                await response.read()
                return response.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0


async def generate(submitter: Submitter, seed: int, over: asyncio.Event) -> None:
    """Begin submits at random moments until `over`; what they are depends on the seed alone."""
    rng = random.Random(f"{seed}/load")
    due, number = time.monotonic(), 0
    while not over.is_set():
        due += rng.expovariate(JOBS_PER_SECOND)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        number += 1
        if number % 40 == 7 or rng.random() < POISON_PART:
            submitter.start(submitter.poison(rng.choice(POISON)))
        pet_id, job_id, image_ids = _job(rng, number)
        for _ in range(5 if rng.random() < FIVE_TIMES else 1):
            send = submitter.post if rng.random() < BY_HTTP else submitter.add
            submitter.start(send(pet_id, job_id, image_ids))


def _job(rng: random.Random, number: int) -> tuple[str, str, tuple[str, ...]]:
    """Mostly new images, now and then one that another job of the pet has named before."""
    pet_id, job_id = rng.choice(PETS), f"job-{number}"
    kind = rng.random()
    if kind < WITHOUT_IMAGES:
        return pet_id, job_id, ()
    image_ids = [f"{pet_id}-{rng.randrange(number * 4 + 4)}" for _ in range(rng.randint(1, 4))]
    if kind < WITHOUT_IMAGES + ALL_MISSING:
        image_ids = [f"{MISSING}-{number}"]
    elif kind < WITHOUT_IMAGES + ALL_MISSING + WITH_MISSING:
        image_ids.append(f"{MISSING}-{number}")
    return pet_id, job_id, tuple(dict.fromkeys(image_ids))


def _envelope(pet_id: str, job_id: str, image_ids: tuple[str, ...]) -> bytes:
    details = {"image_ids": list(image_ids)} if image_ids else {}
    inner = {"pet_id": pet_id, "job_id": job_id, "reason": "insights_ready", "force": False, "payload": details}
    envelope = {"job_id": job_id, "pet_id": pet_id, "payload": inner, "attempts": 0}
    return json.dumps(envelope).encode()
