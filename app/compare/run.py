"""Asks both sides about pet after pet. Called by `python -m app compare`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from app.compare.agreement import compare_albums
from app.compare.sources import Asked, Source, Unanswered
from app.compare.totals import Outcome, PetResult, Totals
from app.pace import Pace


async def compare(
    pets: Sequence[str], there: Source, here: Source, pace: Pace, totals: Totals, told: Callable[[PetResult], None]
) -> None:
    """Add every pet's result to `totals` and tell it. No pet ends it; who cancels it has what was compared so far."""
    for pet_id in pets:
        await pace.wait()
        result = await compare_pet(pet_id, there, here)
        totals.add(result)
        told(result)


async def compare_pet(pet_id: str, there: Source, here: Source) -> PetResult:
    """Ask both at the same moment, so that a job between the two answers is as rare as can be."""
    theirs, ours = await asyncio.gather(_ask(there, pet_id), _ask(here, pet_id))
    if isinstance(theirs, str) or isinstance(ours, str):
        sides = {"predecessor": theirs, "this service": ours}
        reasons = [f"{side}: {reason}" for side, reason in sides.items() if isinstance(reason, str)]
        return PetResult(pet_id=pet_id, outcome="error", error="; ".join(reasons))
    return _result(pet_id, theirs, ours)


def _result(pet_id: str, theirs: Asked, ours: Asked) -> PetResult:
    there, here = theirs.album, ours.album
    outcome: Outcome = "both"
    if there is None:
        outcome = "neither" if here is None else "missing_there"
    elif here is None:
        outcome = "missing_here"
    return PetResult(
        pet_id=pet_id,
        outcome=outcome,
        lists_photos=there is not None and any(there.clusters.values()),
        agreement=compare_albums(there, here) if there and here else None,
        seconds_there=theirs.seconds,
        seconds_here=ours.seconds,
        updated_there=there.updated_at if there else "",
        updated_here=here.updated_at if here else "",
    )


async def _ask(source: Source, pet_id: str) -> Asked | str:
    """What it answers, or why not."""
    try:
        return await source.ask(pet_id)
    except Unanswered as error:
        return str(error)
