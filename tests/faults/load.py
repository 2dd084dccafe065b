"""Submits jobs as callers do, until each is accepted, whatever is away meanwhile. Run by run.py beside the faults.

A submit whose outcome is unknown (a time-out, a lost connection) is repeated with the same job id: that is what callers
are told to do, and it is why a job may stand in the stream more often than it was accepted.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

import aiohttp
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.local.ports import HOST
from tests.e2e.service import TOKEN
from tests.faults.ledger import Fields, JobKey, Ledger, Order, Post
from tests.faults.orders import PETS, order, times
from tests.faults.poison import POISON
from tests.faults.supervised import SupervisedService
from tests.faults.waiting import until

JOBS_PER_SECOND: Final = 3.0
BY_HTTP: Final = 0.3
POISON_PART: Final = 0.02
"""Far more than one in a thousand, so that every seed has some."""
REPEATED_LATER: Final = 0.05
"""Part of the moments of a submit at which a job that has ended is submitted once more."""
AWAY_SECONDS: Final = 0.5
"""While Redis is away, there is a POST so often."""
AGAIN_SECONDS: Final = 0.25
XADD_TIMEOUT: Final = 3.0
POST_TIMEOUT: Final = 4.0
"""Shorter than Redis is stopped, so that a POST that hangs while it is away is seen."""
REPEATED: Final = (0, 500, 503)
"""Answers behind which a caller asks again; of 500 the audit says more."""


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

    async def add(self, wanted: Order) -> None:
        """XADD until Redis has it."""
        await self._add_until_accepted({b"payload": _envelope(wanted)}, [])
        self._ledger.accept(wanted, "redis")

    async def poison(self, fields: Fields) -> None:
        """XADD what can never become a job."""
        entry_id = await self._add_until_accepted(fields, self._ledger.doubtful)
        self._ledger.poison[entry_id] = fields

    async def post(self, wanted: Order) -> None:
        """POST until the answer is 202."""
        payload = {"image_ids": list(wanted.image_ids)} if wanted.image_ids else {}
        body = {"pet_id": wanted.pet_id, "job_id": wanted.job_id, "reason": "insights_ready", "force": wanted.force}
        while True:
            begun = time.monotonic()
            status, answer = await self.call("/internal/cluster-jobs", {**body, "payload": payload})
            self._ledger.posts.append(Post(begun, time.monotonic(), status))
            if status == 202:
                self._ledger.accept(wanted, "http")
                return
            assert status in REPEATED, f"POST of {body} was answered with {status}: {answer[:300]!r}"
            await asyncio.sleep(AGAIN_SECONDS)

    async def call(self, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        """One POST: status and body; 0 when there was no answer. A status of 500 is kept for the audit."""
        if self._http is None:
            self._http = aiohttp.ClientSession(
                headers={"X-Internal-Token": TOKEN}, timeout=aiohttp.ClientTimeout(total=POST_TIMEOUT)
            )
        try:
            async with self._http.post(f"http://{HOST}:{self._service.web_port}{path}", json=body) as response:
                answer = await response.read()
                self._ledger.note_answer(f"POST {path}", response.status, answer.decode(errors="replace"))
                return response.status, answer
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0, b""

    def count(self, what: str) -> None:
        """Count something that was submitted."""
        self._ledger.sends[what] += 1

    async def hold(self) -> None:
        """Close the gate and wait until no XADD is under way."""
        self.gate.clear()
        await until(lambda: not self._adding)

    async def _add_until_accepted(self, fields: Any, doubtful: list[Fields]) -> str:
        """Returns the entry's id; `doubtful` gets the fields whenever nobody knows whether Redis has taken them."""
        while True:
            await self.gate.wait()
            self._adding += 1
            try:
                entry_id: bytes = await self._redis.xadd(self._service.stream, fields)
                return entry_id.decode()
            except (RedisError, OSError, TimeoutError):
                self._ledger.sends["redis refused or unknown"] += 1
                doubtful.append(fields)
            finally:
                self._adding -= 1
            await asyncio.sleep(AGAIN_SECONDS)


async def generate(submitter: Submitter, seed: int, over: asyncio.Event, has_ended: Callable[[JobKey], bool]) -> None:
    """Begin submits at random moments until `over`; what they are depends on the seed, and what is submitted again
    later on what has ended by then.
    """
    rng, later = random.Random(f"{seed}/load"), random.Random(f"{seed}/later")
    due, number, sent = time.monotonic(), 0, list[Order]()
    while not over.is_set():
        due += rng.expovariate(JOBS_PER_SECOND)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        number += 1
        if number % 40 == 7 or rng.random() < POISON_PART:
            submitter.start(submitter.poison(rng.choice(POISON)))
        wanted = order(rng, number)
        sent.append(wanted)
        for _ in range(times(rng, wanted)):
            send = submitter.post if rng.random() < BY_HTTP else submitter.add
            submitter.start(send(wanted))
        ended = [each for each in sent if has_ended(each.key)] if later.random() < REPEATED_LATER else []
        if ended:
            submitter.count("submitted again behind its end")
            submitter.start(submitter.add(later.choice(ended)))


async def post_while(submitter: Submitter, away: Callable[[], bool], over: asyncio.Event) -> None:
    """Beside the other load, a POST every `AWAY_SECONDS` for as long as `away()`; until `over`."""
    number = 0
    while not over.is_set():
        if away():
            number += 1
            pet_id = PETS[number % len(PETS)]
            submitter.start(submitter.post(Order(pet_id, f"away-{number}", (f"{pet_id}-away-{number}",))))
        await asyncio.sleep(AWAY_SECONDS)


def _envelope(wanted: Order) -> bytes:
    details = {"image_ids": list(wanted.image_ids)} if wanted.image_ids else {}
    inner = {
        "pet_id": wanted.pet_id,
        "job_id": wanted.job_id,
        "reason": "insights_ready",
        "force": wanted.force,
        "payload": details,
    }
    envelope = {"job_id": wanted.job_id, "pet_id": wanted.pet_id, "payload": inner, "attempts": 0}
    return json.dumps(envelope).encode()
