"""Strikes: each fault of the plan at its time, lane beside lane, until what it struck is back. Made by run.py."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from app.local.ports import HOST
from app.local.probe import answers_ok
from tests.e2e.service import ROLES
from tests.faults.checks.http import REDIS_AWAY, posts_in_question
from tests.faults.fault import Named, NotNow
from tests.faults.probes import Probes
from tests.faults.schedule import Strike, by_lane, plan
from tests.faults.stack import Stack

INJECT_SECONDS: Final = 30.0
BACK_SECONDS: Final = 40.0
"""How long a strike waits for what the last one of its lane struck, and the end of the run for all of it."""
ALONE_SECONDS: Final = 5.0
"""How long Redis is stopped once more when other faults hid all POSTs while it was away."""


class Attack:
    """`strike` for the load's time, then `not_back` when all should be well again. `struck`: fault → how often."""

    def __init__(
        self, stack: Stack, seed: int, usable: Mapping[str, Named], probes: Probes, tell: Callable[[str], None]
    ) -> None:
        self.struck: Counter[str] = Counter()
        self.waiting: set[asyncio.Task[None]] = set()
        self._stack = stack
        self._seed = seed
        self._usable = usable
        self._probes = probes
        self._tell = tell

    async def strike(self, seconds: float) -> None:
        """All strikes of the seed's plan."""
        strikes = plan(self._seed, seconds, [named.kind for named in self._usable.values()])
        lanes = [self._strike_lane(lane) for lane in by_lane(strikes).values()]
        await asyncio.gather(asyncio.sleep(seconds), *lanes)
        await self._stop_redis_alone(strikes)

    async def not_back(self) -> list[str]:
        """What was struck and is not ready again by now, or why nobody knows, in words; all outages are over then."""
        if not self.waiting:
            return []
        done, late = await asyncio.wait(self.waiting, timeout=BACK_SECONDS)
        for task in late:
            task.cancel()
        wrong = [f"{task.get_name()}: {error!r}" for task in done if (error := task.exception()) is not None]
        return wrong + [f"{task.get_name()}: is not ready again" for task in late]

    async def _stop_redis_alone(self, strikes: Sequence[Strike]) -> None:
        """Stop it once more and while all else is well, when no POST was made while nothing but Redis was away."""
        away = any(strike.name in REDIS_AWAY for strike in strikes)
        if (
            away
            and "redis_stop" in self._usable
            and not posts_in_question(self._stack.ledger.posts, self._stack.outages)
        ):
            if self.waiting:
                await asyncio.wait(self.waiting, timeout=BACK_SECONDS)
            await self._strike(Strike(0.0, ALONE_SECONDS, "redis_stop", "redis"), len(strikes))

    async def _strike_lane(self, strikes: Sequence[Strike]) -> None:
        begun = time.monotonic()
        back: asyncio.Task[None] | None = None
        for number, strike in enumerate(strikes):
            await asyncio.sleep(max(0.0, begun + strike.at - time.monotonic()))
            if back is not None:  # on a slow machine, let it come back first: else there is nothing to strike
                await asyncio.wait({back}, timeout=BACK_SECONDS)
            back = await self._strike(strike, number) or back

    async def _strike(self, strike: Strike, number: int) -> asyncio.Task[None] | None:
        """One fault from inject to heal; returns what waits until its lane is back, None when it did not strike."""
        named = self._usable[strike.name]
        fault = named.make(named.target, random.Random(f"{self._seed}/{strike.name}/{number}"))
        self._tell(f"{strike.name} for {strike.seconds:.1f} s")
        outages = self._stack.outages
        outage, struck = outages.begin(strike.lane), outages.begin(strike.name)
        try:
            async with asyncio.timeout(INJECT_SECONDS):
                await fault.inject(self._stack)
        except (NotNow, TimeoutError) as error:
            self._tell(f"{strike.name} not possible: {error!r}")
            outages.end(strike.lane, outage)
            outages.end(strike.name, struck)
            return None
        self.struck[strike.name] += 1
        await asyncio.sleep(strike.seconds)
        outages.end(strike.name, struck)
        await fault.heal(self._stack)
        self._tell(f"{strike.name} healed")
        self._probes.start(strike.name)
        back = asyncio.create_task(self._mark_back(strike.lane, outage), name=f"{strike.lane} behind {strike.name}")
        self.waiting.add(back)
        return back

    async def _mark_back(self, lane: str, outage: int) -> None:
        """The outage ends when what was struck is ready again; behind a broker that is everything."""
        for role in ROLES if lane == "kafka" else {lane} & set(ROLES):
            url = f"http://{HOST}:{self._stack.service.ports[role]}/readyz"
            while not await asyncio.to_thread(answers_ok, url):  # noqa: ASYNC110 - another process's doing
                await asyncio.sleep(0.2)
        self._stack.outages.end(lane, outage)
