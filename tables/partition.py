"""Policy and promoted model of one log partition, as the log has recorded them. Pure; used by tables.store's
callers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from schemas.errors import DeadLetter
from schemas.facts import Fact, ModelPromoted, Policy, PolicyChanged
from tables import rows

KEPT: Final = 16
"""Facts remembered, so that an event that is read again finds what was in force at its offset."""

_INITIAL: Final = rows.PartitionFact(-1, Policy(), "", 0)


@dataclass(frozen=True)
class InForce:
    """What an event is folded by. `model` is empty while none was promoted."""

    policy: Policy
    model: str


def in_force(get: Callable[[bytes], bytes | None], offset: int) -> InForce:
    """What is in force at log `offset`: the last fact before it, or the defaults of this release's Policy."""
    before = [fact for fact in _facts(get) if fact.offset < offset]
    last = before[-1] if before else _INITIAL
    return InForce(last.policy, last.model)


def record(get: Callable[[bytes], bytes | None], fact: Fact, offset: int) -> tuple[bytes, bytes]:
    """The record that puts a partition fact into force from `offset` on; a repeat gives the same record.

    Raises DeadLetter when the fact is not about a partition.
    """
    facts = _facts(get)
    last = ([f for f in facts if f.offset < offset] or [_INITIAL])[-1]
    if isinstance(fact, PolicyChanged):
        new = rows.PartitionFact(offset, fact.policy, last.model, last.dimension)
    elif isinstance(fact, ModelPromoted):
        new = rows.PartitionFact(offset, last.policy, fact.model, fact.dimension)
    else:
        raise DeadLetter(f"facts of type {type(fact).__name__} are not about a partition")
    if not any(f.offset >= offset for f in facts):
        facts = [*facts, new][-KEPT:]
    return rows.PARTITION_KEY, rows.encode(rows.PartitionRow(facts))


def _facts(get: Callable[[bytes], bytes | None]) -> list[rows.PartitionFact]:
    raw = get(rows.PARTITION_KEY)
    return [] if raw is None else rows.decode_partition(raw).facts
