"""The pet table as a new worker would recover it from its changelog. Pure; used by audit.py.

The rules are those of `DurableTable.apply_changelog_batch`: the last record of a key stands, a tombstone deletes, a
head never goes back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from aiokafka import ConsumerRecord

from tables.rows import decode_head, encode

HEAD: bytes = b"/h"


@dataclass
class Recovered:
    """`rows` of all partitions; what the changelog should not hold: heads that went back, rows written anew.

    `went_back`: a worker wrote over another's newer state. `rewritten`: a row that is never rewritten has two contents,
    or one log position has two states.
    """

    rows: dict[bytes, bytes] = field(default_factory=dict)
    went_back: list[str] = field(default_factory=list)
    rewritten: list[str] = field(default_factory=list)


def recover(changelog: Iterable[ConsumerRecord]) -> Recovered:
    """Read the records partition by partition, in order."""
    found = Recovered()
    ever: dict[bytes, bytes] = {}
    reached: dict[bytes, int] = {}
    states: dict[tuple[bytes, int], bytes] = {}
    for record in changelog:
        key, value = record.key, record.value
        if key is None or not key.strip(b"/") or b"/" not in key.strip(b"/"):
            continue  # the partition's own row
        where = f"{key.decode()} at changelog {record.partition}/{record.offset}"
        if value is None:
            found.rows.pop(key, None)
            continue
        if key.endswith(HEAD):
            state = decode_head(value).state
            if goes_back := state.last_offset < reached.get(key, -1):
                found.went_back.append(f"{where}: from {reached[key]} to {state.last_offset}")
            reached[key] = max(reached.get(key, -1), state.last_offset)
            if states.setdefault((key, state.last_offset), encode(state)) != encode(state):
                found.rewritten.append(f"{where}: two states at log offset {state.last_offset}")
            if goes_back:
                continue
        elif ever.setdefault(key, value) != value:
            found.rewritten.append(where)
        found.rows[key] = value
    return found
