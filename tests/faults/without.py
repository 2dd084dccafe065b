"""Runs a role with one protection switched off: `python -m tests.faults.without PROTECTION ROLE`. Used by controls.py.

The product has no such switch: the protection is patched away here. Every role that is run so also has slow producers,
as behind a busy broker: what is not waited for is then still under way when the process dies. `nothing` leaves every
protection on, with slow producers too, and must stay green.

A patch that no longer hits anything raises at the start. One that is in force writes a line, and another when it acts
for the first time: what controls.py looks for, so that no control is green or red because of a patch that does nothing.
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
STARTED: Final = "protection off: {}"
ACTED: Final = "protection missed: {}"
_acted: set[str] = set()


def patch_lines(log: str) -> list[str]:
    """What a process wrote about its patch, each line once."""
    beginnings = tuple(line.format("") for line in (STARTED, ACTED))
    return list(dict.fromkeys(line for line in log.splitlines() if line.startswith(beginnings)))


def acts(protection: str) -> None:
    """Say once that the patch was run."""
    if protection not in _acted:
        _acted.add(protection)
        print(ACTED.format(protection), file=sys.__stderr__, flush=True)


def replace(owner: Any, name: str, patched: Any) -> Any:
    """Put `patched` in place of what the owner itself has under that name; returns that. Raises AttributeError."""
    if name not in vars(owner):
        raise AttributeError(f"{owner!r} has no {name}: this control patches nothing")
    original = getattr(owner, name)
    setattr(owner, name, patched)
    return original


def slow_producers() -> None:
    """Hold up every produce request of this process."""
    from aiokafka.producer.sender import Sender

    async def slow_send(self: Any, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(random.uniform(*SLOW_SECONDS))
        return await send(self, *args, **kwargs)

    send = replace(Sender, "_send_produce_req", slow_send)


def without_ordered_ack() -> None:
    """An event is acknowledged as soon as it is done, whatever of its partition is still under way before it."""
    from agents.delivery import Delivery, Ticket

    def advance(self: Any, partition: Any) -> None:
        acts("ordered_ack")
        for ticket in [ticket for ticket in partition.tickets if ticket.settled]:
            partition.tickets.remove(ticket)
            self._in_flight -= ticket.weight
            if ticket.current:
                ticket.event.ack()
        self._room.set()

    replace(Delivery, "advance", advance)
    _needs(Ticket, "settled", "current")


def without_durable_before_ack() -> None:
    """An event is acknowledged when its messages are handed to the producer, not when the broker has them."""
    from agents.delivery import Ticket

    async def publish(self: Any) -> list[Any]:
        acts("durable_before_ack")
        queued, self._queued = self._queued, []
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        for topic, message in queued:
            await topic.publish_message(message, wait=False)
        return [done for _ in queued]

    replace(Ticket, "publish", publish)


def without_outbox() -> None:
    """An event that is read again sends nothing: its outputs were sent, or so one might think."""
    from tables.store import Applied, PetStore

    def forgetful(self: PetStore, *args: Any) -> Applied:
        applied: Applied = repeat(self, *args)
        if applied.outputs:
            acts("outbox")
        applied.outputs = []
        return applied

    repeat = replace(PetStore, "_repeat", forgetful)


def without_recovery_mend() -> None:
    """Faust resumes partitions before it seeks, as it does out of the box."""
    from faust.tables.recovery import Recovery

    from agents import faust_mends

    async def bare(self: Any, *args: Any, **kwargs: Any) -> None:
        if vars(Recovery)["on_recovery_completed"] is not bare:
            raise RuntimeError("the recovery is mended all the same")
        acts("recovery_mend")
        await original(self, *args, **kwargs)

    original = replace(Recovery, "on_recovery_completed", bare)
    if getattr(original, "stops_flow", False):
        raise RuntimeError("the recovery was mended before the patch")
    # Named in `mend_faust`, which finds it in its module when it is called.
    replace(faust_mends, "stop_flow_before_seek", lambda: None)


def without_version_guard() -> None:
    """The projector writes every version that it reads, whatever the last one was."""
    from projections import batches, postgres
    from projections.changes import changes_of
    from projections.queries import load

    begun, guard, _ = load("insert_version").partition("WHERE $3")
    if not guard:
        raise RuntimeError("insert_version has no guard: this control patches nothing")
    insert = begun + "ON CONFLICT DO NOTHING"

    async def apply_version(connection: Any, version: Any) -> postgres.Applied:
        acts("version_guard")
        changes = changes_of(version)
        await connection.execute(insert, *changes.version_row)
        await postgres._write_changes(connection, changes)
        return postgres.Applied(version.version)

    replace(batches, "apply_version", apply_version)


def without_xack_after_ack() -> None:
    """The bridge acknowledges entries in Redis when it has read them, before Kafka has them."""
    from bridges.redis_jobs import RedisJobsBridge

    async def hasty(self: Any, batch: Any) -> None:
        if batch.entries:
            acts("xack_after_ack")
            await self._settle([entry.id for entry in batch.entries], ())
        await handle(self, batch)

    handle = replace(RedisJobsBridge, "_handle", hasty)
    _needs(RedisJobsBridge, "_settle")


def _needs(owner: Any, *names: str) -> None:
    for name in names:
        if name not in vars(owner):
            raise AttributeError(f"{owner!r} has no {name}, which the patch needs")


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
    print(STARTED.format(protection), file=sys.__stderr__, flush=True)
    sys.argv = ["app", role]
    runpy.run_module("app", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
