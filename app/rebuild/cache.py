"""`rebuild --projection redis`: the cached answers, made anew from Postgres under a new generation. Run by `run.py`.

Only what is cached is made anew; anything else is read through when it is asked for. A key holds the answer of one
generation: the new one's is put over the old one's by compare-and-set, so that no reader finds neither, and no writer
that has read the rows before puts an older generation's back.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any, Final

from app.pace import Pace
from app.progress import Display
from app.rebuild.place import Place
from app.rebuild.turn import alone
from projections.answers import read_latest
from projections.cache import same_but_for_generation, stored_position
from projections.shadow.swap import begin_generation
from schemas.answers import encode_answer

LISTED: Final = 20


class CacheRebuild:
    """A rebuild of the cache; `rate`: most answers a second. Raises StopProcess when another rebuild runs."""

    def __init__(self, place: Place, display: Display, rate: float) -> None:
        self._place = place
        self._display = display
        self._pace = Pace(rate)
        self._found: Counter[str] = Counter()

    async def run(self, *, dry: bool = False) -> int:
        """Compare each cached answer with the rows and put the rows' in its place; returns how many differed.

        `dry`: compares only. A repeat begins anew.
        """
        async with alone(self._place) as connection:
            if not dry:
                async with connection.transaction():
                    self._display.say("begun", generation=await begin_generation(connection))
            pets = sorted({pet async for pet in self._place.cache.pets()})
            began = time.monotonic()
            for number, pet_id in enumerate(pets, start=1):
                await self._pace.wait()
                await self._one(connection, pet_id, dry=dry)
                self._display.step("caching", number, len(pets), time.monotonic() - began)
            self._display.stop()
        names = ("same", "behind", "differing", "unknown")
        self._display.say("compared", answers=len(pets), **{name: self._found[name] for name in names})
        return self._found["differing"]

    async def _one(self, connection: Any, pet_id: str, *, dry: bool) -> None:
        cache = self._place.cache
        stored = await cache.get(pet_id)
        answer = await read_latest(connection, pet_id)
        if answer is None:
            self._found["unknown"] += 1  # of a pet without rows, or not ours
            if not dry:
                await cache.invalidate(pet_id)
            return
        made = encode_answer(answer)
        self._found[kind := _compared(stored, made)] += 1
        if kind == "differing" and self._found[kind] <= LISTED:
            self._display.say("differs", pet=pet_id, version=answer.version)
        if not dry:
            await cache.put(pet_id, made, answer.generation, answer.version)


def _compared(stored: bytes | None, made: bytes) -> str:
    """``same``, ``behind``: an older version, which time would mend; ``differing``: nothing would."""
    if stored is None:
        return "behind"  # it has expired meanwhile
    if same_but_for_generation(stored, made):
        return "same"
    theirs, ours = stored_position(stored), stored_position(made)
    return "behind" if theirs is not None and ours is not None and theirs[1] < ours[1] else "differing"
