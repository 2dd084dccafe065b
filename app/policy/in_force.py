"""Which policy each partition of the log is folded by, read from the log itself. Used by `console`.

A partition is read backwards in pieces until its last `PolicyChanged` is found: quick after a change, the whole
partition where `prepare` has written the only one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import ConsumerRecord, TopicPartition

from app.progress import Display
from projections.log_reading import log_end, need_beginning, read
from schemas.codec import decode_fact
from schemas.errors import DeadLetter, StopProcess, UnknownVersion
from schemas.fact_checks import check_fact, check_time
from schemas.facts import Policy, PolicyChanged
from schemas.topics import PARTITION_FACTS_KEY

PIECE: Final = 10_000
"""Offsets."""
_KEY: Final = PARTITION_FACTS_KEY.encode()


@dataclass(frozen=True, slots=True)
class InForce:
    """`since`: offset of the fact that says so, `time` when it was written (RFC 3339); of a log that records no policy
    -1 and empty.
    """

    partition: int
    policy: Policy
    since: int = -1
    time: str = ""


def agree(found: Sequence[InForce]) -> bool:
    """Whether all partitions are folded by the same."""
    return all(each.policy == found[0].policy for each in found)


async def policies_in_force(consumer: Any, topic: str, partitions: Sequence[int], display: Display) -> list[InForce]:
    """Of each partition, at its end. `consumer`: started, in no group.

    Raises StopProcess for a log that has lost its beginning, or whose policy is of a newer release.
    """
    return [await _of_partition(consumer, TopicPartition(topic, number), display) for number in partitions]


async def _of_partition(consumer: Any, tp: TopicPartition, display: Display) -> InForce:
    await need_beginning(consumer, tp)
    end, began = await log_end(consumer, tp), time.monotonic()
    for stop in range(end, 0, -PIECE):
        start, last = max(0, stop - PIECE), None
        async for records, _ in read(consumer, tp, start, stop):
            last = next((each for record in reversed(records) if (each := _policy_of(record))), last)
        if last is not None:
            return last
        if start:
            display.step(f"reading partition {tp.partition}", end - start, end, time.monotonic() - began)
    return InForce(tp.partition, Policy())


def _policy_of(record: ConsumerRecord) -> InForce | None:
    """What the record puts into force, as the fold takes it; None for any other, and for what the fold refuses."""
    if record.key != _KEY:
        return None
    try:
        envelope, fact = decode_fact(record.value or b"")
        check_time(envelope.time)
        check_fact(fact)
    except UnknownVersion as error:
        where = f"{record.topic}/{record.partition}/{record.offset}"
        raise StopProcess(f"{where} is of a newer release: {error}") from error
    except DeadLetter:
        return None
    return (
        InForce(record.partition, fact.policy, record.offset, envelope.time)
        if isinstance(fact, PolicyChanged)
        else None
    )
