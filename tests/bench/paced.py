"""Questions to the API and facts to the log at a steady pace, whether or not they are answered. Used by `scale`.

An open loop: a question is sent when it is due, however long the ones before take, and its time counts from then on; so
a stall is seen by all that fall into it.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp

from app.local.ports import HOST
from tests.e2e.service import TOKEN, Service
from tests.scale.history import Size, further
from tests.scale.write import open_writer

Path = Callable[[random.Random], str]


@dataclass(frozen=True)
class Answer:
    """`kind`: of question; `due`: monotonic; `seconds`: from then until the whole answer was there, or until it failed;
    `status`: 0 when there was no answer.
    """

    kind: str
    due: float
    seconds: float
    status: int


async def ask(
    service: Service, kinds: Mapping[str, Path], *, per_second: float, over: asyncio.Event, seed: int = 1
) -> list[Answer]:
    """Ask at random moments (a Poisson process), the kinds in turns, until `over`; every answer, in order of asking."""
    rng, loop = random.Random(seed), asyncio.get_running_loop()
    turns = itertools.cycle(kinds.items())
    asked: list[asyncio.Task[Answer]] = []
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    async with aiohttp.ClientSession(headers={"X-Internal-Token": TOKEN}, connector=connector) as session:
        due = time.monotonic()
        while not over.is_set():
            due += rng.expovariate(per_second)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            kind, path = next(turns)
            url = f"http://{HOST}:{service.web_port}{path(rng)}"
            asked.append(loop.create_task(_ask(session, kind, url, due)))
        return list(await asyncio.gather(*asked))


async def _ask(session: aiohttp.ClientSession, kind: str, url: str, due: float) -> Answer:
    status = 0
    with suppress(aiohttp.ClientError, TimeoutError, OSError):
        async with session.get(url) as response:
            await response.read()
            status = response.status
    return Answer(kind, due, time.monotonic() - due, status)


async def write(service: Service, size: Size, first: int, *, per_second: float, over: asyncio.Event) -> int:
    """Append one more job's fact every so often, as embed would, until `over`; `first` is the number of the first.

    Returns the number of the next one; the broker has all before it.
    """
    due, number = time.monotonic(), first
    async with open_writer(service.bootstrap_servers, service.topics) as writer:
        while not over.is_set():
            await writer.write(further(size, range(number, number + 1), datetime.now(UTC)))
            number += 1
            due += 1 / per_second
            await asyncio.sleep(max(0.0, due - time.monotonic()))
    return number
