"""The live generation of the fold ends, and another one begins where it has ended. Used by `rebuild.py`.

1. the record says ``handing_over``    workers end in good order and wait; those that start read it and wait, too
2. the live group is empty             nobody folds: a worker that joins from here on reads the record before its first
                                       event (app.roles.fold_generation)
3. its committed offsets are final     all that follows from the events below them is durable and sent
4. the tables are built up to them     the caller's part; compared, and the versions agree
5. the next group's offsets are those  its first event is the one behind
6. the record says ``live``            workers begin

A failure or Ctrl-C before step 6 sets the record back to ``building``, and the live generation folds on. A crash behind
any step: nobody folds until the same is done again, built on, or given up. Whoever has the turn knows that no other
process is handing over, so the next run does one of these by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from projections.offsets import LogOffsets
from schemas.errors import StopProcess

LOOK_SECONDS: Final = 0.5


async def wait_until_empty(broker: LogOffsets, group: str, seconds: float, waits: Callable[[list[str]], Any]) -> None:
    """Wait for the group's last member to go; `waits` is told who is there. Raises StopProcess after `seconds`.

    A worker that has ended is a member until its session times out.
    """
    deadline = time.monotonic() + seconds
    while members := await broker.members(group):
        if time.monotonic() > deadline:
            raise StopProcess(
                f"workers still fold for the group {group} after {seconds:.0f} s: {', '.join(members)}."
                " End them (workers of an older release do not end by themselves), and run the same again"
            )
        waits(members)
        await asyncio.sleep(LOOK_SECONDS)


async def commit_for(bootstrap_servers: str, group: str, offsets: Mapping[TopicPartition, int]) -> None:
    """Commit the offsets for a group without members. Raises KafkaError when it has some, StopProcess when the broker
    then tells others.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, group_id=group, enable_auto_commit=False)
    try:
        await consumer.start()
        consumer.assign(list(offsets))
        await consumer.commit(dict(offsets))
        told = {tp: await consumer.committed(tp) for tp in offsets}
    finally:
        await consumer.stop()
    if told != dict(offsets):
        raise StopProcess(f"the group {group} stands at {told}, not at {dict(offsets)}")


async def committed_of(broker: LogOffsets, group: str, log: str, partitions: Collection[int]) -> dict[int, int]:
    """Partition → the group's next offset of the log; 0 where it has committed nothing."""
    found = await broker.committed(group, [TopicPartition(log, number) for number in partitions])
    return {tp.partition: offset for tp, offset in found.items()}
