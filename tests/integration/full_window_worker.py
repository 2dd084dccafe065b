"""Runs the fold role with room for one event, which it holds until the group rebalances, for
tests/integration/test_rebalance.py. Says "window full" when the next event waits for room.

Settings from the environment.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from agents.delivery import Delivery, Ticket
from app.roles.fold import run
from app.settings import load_settings

admit, close = Delivery.admit, Ticket.close


async def _admit(delivery: Delivery, event: Any, weight: int = 1) -> Ticket | None:
    if delivery.in_flight:
        print("window full", file=sys.stderr, flush=True)
    return await admit(delivery, event, weight)


def _close_in_a_rebalance(ticket: Ticket) -> None:
    asyncio.get_running_loop().create_task(_wait_and_close(ticket))


async def _wait_and_close(ticket: Ticket) -> None:
    while not ticket._delivery.app.rebalancing:  # noqa: ASYNC110  (a flag of Faust's)
        await asyncio.sleep(0.01)
    close(ticket)


if __name__ == "__main__":
    assert Delivery.__init__.__kwdefaults__ is not None
    Delivery.__init__.__kwdefaults__["window"] = 1
    Delivery.admit = _admit  # type: ignore[method-assign,assignment]
    Ticket.close = _close_in_a_rebalance  # type: ignore[method-assign,assignment]
    run(load_settings())
