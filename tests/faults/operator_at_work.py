"""An operator who looks after dead letters while everything goes on: requeues one pet's, discards another's.

Run by run.py. What is requeued are images that nobody has, so that they fail once more, as the next run of their job.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any, Final, Literal

from tests.faults.ledger import Ledger
from tests.faults.load import AGAIN_SECONDS, REPEATED, Submitter
from tests.faults.orders import PETS

Verb = Literal["requeue", "discard"]

SHIFT: Final[tuple[tuple[Verb, float], ...]] = (("requeue", 0.45), ("discard", 0.65))
"""What is done, and at which part of the load's time."""
LOOK_SECONDS: Final = 0.5
LOOKS_BEHIND: Final = 20
"""How often to look once the load is over: then there may be no letters to act on."""


async def operate(submitter: Submitter, ledger: Ledger, seed: int, seconds: float, over: asyncio.Event) -> None:
    """Do what `SHIFT` says, each to a pet of its own, as soon as one has open letters of missing images."""
    pets = random.Random(f"{seed}/operator").sample(PETS, len(PETS))
    before = 0.0
    for number, (verb, part) in enumerate(SHIFT):
        await asyncio.sleep((part - before) * seconds)
        before = part
        await _act_on_one_pet(submitter, ledger, verb, pets[number :: len(SHIFT)], over)


async def _act_on_one_pet(
    submitter: Submitter, ledger: Ledger, verb: Verb, pets: list[str], over: asyncio.Event
) -> None:
    looks = LOOKS_BEHIND
    while looks:
        for pet in pets:
            if await _act(submitter, ledger, verb, pet):
                return
        looks -= over.is_set()
        await asyncio.sleep(LOOK_SECONDS)


async def _act(submitter: Submitter, ledger: Ledger, verb: Verb, pet: str) -> bool:
    """Requeue or discard what the filter takes, however often it must be asked for; False when it takes nothing."""
    chosen = {"subject": "image", "kind": "not_found", "pet_id": pet}
    body: dict[str, Any] = {"filter": chosen, "who": "fault suite", "why": f"{verb} in mid-run"}
    while True:
        count = (await _ask(submitter, verb, body))["count"]
        if not count:
            return False
        answer = await _ask(submitter, verb, {**body, "expected_count": count})
        if answer:  # else it takes another number by now: look again
            ledger.actions += [action["id"] for action in answer["actions"]]
            ledger.errors += [f"{verb} refused: {refused}" for refused in answer["refused"]]
            ledger.sends[f"letters of one {verb}"] += count
            return True


async def _ask(submitter: Submitter, verb: Verb, body: dict[str, Any]) -> dict[str, Any]:
    """The answer's data; nothing when the count has changed."""
    while True:
        status, answer = await submitter.call(f"/internal/dead-letters/{verb}", body)
        if status in (200, 202):
            data: dict[str, Any] = json.loads(answer)["data"]
            return data
        if status == 409:
            return {}
        assert status in REPEATED, f"{verb} of {body} was answered with {status}: {answer[:300]!r}"
        await asyncio.sleep(AGAIN_SECONDS)
