"""Runs a role with one protection switched off: `python -m tests.faults.without PROTECTION ROLE`. Used by controls.py.

The product has no such switch: the protection is patched away here. Every role that is run so also has slow producers,
as behind a busy broker: what is not waited for is then still under way when the process dies. `nothing` leaves every
protection on, with slow producers too, and must stay green.
"""

from __future__ import annotations

import asyncio
import random
import runpy
import sys
from collections.abc import Callable
from typing import Any, Final

SLOW_SECONDS: Final = (0.0, 0.8)
"""A produce request is held up for a random time between these."""


def slow_producers() -> None:
    """Hold up every produce request of this process."""
    from aiokafka.producer.sender import Sender

    send = Sender._send_produce_req

    async def slow_send(self: Any, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(random.uniform(*SLOW_SECONDS))
        return await send(self, *args, **kwargs)

    Sender._send_produce_req = slow_send


def without_ordered_ack() -> None:
    """An event is acknowledged as soon as it is done, whatever of its partition is still under way before it."""
    from agents.delivery import Delivery

    def advance(self: Any, partition: Any) -> None:
        for ticket in [ticket for ticket in partition.tickets if ticket.settled]:
            partition.tickets.remove(ticket)
            self._in_flight -= getattr(ticket, "weight", 1)
            if ticket.current:
                ticket.event.ack()
        self._room.set()

    Delivery.advance = advance  # type: ignore[method-assign]


def without_durable_before_ack() -> None:
    """An event is acknowledged when its messages are handed to the producer, not when the broker has them."""
    from agents.delivery import Ticket

    async def publish(self: Any) -> list[Any]:
        queued, self._queued = self._queued, []
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        for topic, message in queued:
            await topic.publish_message(message, wait=False)
        return [done for _ in queued]

    Ticket.publish = publish  # type: ignore[method-assign]


def without_outbox() -> None:
    """An event that is read again sends nothing: its outputs were sent, or so one might think."""
    from tables.store import Applied, PetStore

    repeat = PetStore._repeat

    def forgetful(self: PetStore, *args: Any) -> Applied:
        applied = repeat(self, *args)
        applied.outputs = []
        return applied

    PetStore._repeat = forgetful  # type: ignore[method-assign, assignment]


def without_recovery_mend() -> None:
    """Faust resumes partitions before it seeks, as it does out of the box."""
    from agents import faust_mends
    from app.roles import faust_worker

    for module in (faust_mends, faust_worker):
        if hasattr(module, "stop_flow_before_seek"):
            module.stop_flow_before_seek = lambda: None  # type: ignore[attr-defined]


def without_version_guard() -> None:
    """The projector writes every version that it reads, whatever the last one was."""
    from projections import batches, postgres
    from projections.changes import changes_of
    from projections.queries import load

    insert = load("insert_version").partition("WHERE $3")[0] + "ON CONFLICT DO NOTHING"

    async def apply_version(connection: Any, version: Any) -> postgres.Applied:
        changes = changes_of(version)
        await connection.execute(insert, *changes.version_row)
        await postgres._write_changes(connection, changes)
        return postgres.Applied(version.version)

    batches.apply_version = apply_version  # type: ignore[attr-defined]


def without_xack_after_ack() -> None:
    """The bridge acknowledges entries in Redis when it has read them, before Kafka has them."""
    from bridges.redis_jobs import RedisJobsBridge

    handle = RedisJobsBridge._handle

    async def hasty(self: Any, batch: Any) -> None:
        if batch.entries:
            await self._settle([entry.id for entry in batch.entries], ())
        await handle(self, batch)

    RedisJobsBridge._handle = hasty  # type: ignore[method-assign]


PROTECTIONS: Final[dict[str, Callable[[], None]]] = {
    "nothing": lambda: None,
    "ordered_ack": without_ordered_ack,
    "durable_before_ack": without_durable_before_ack,
    "outbox": without_outbox,
    "recovery_mend": without_recovery_mend,
    "version_guard": without_version_guard,
    "xack_after_ack": without_xack_after_ack,
}


def main(protection: str, role: str) -> None:
    """Patch, then become the role."""
    slow_producers()
    PROTECTIONS[protection]()
    sys.argv = ["app", role]
    runpy.run_module("app", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
