"""The pet table, as a new worker would recover it, is what the log says: heads and rows. Called by audit.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tables.rows import decode_head, row_key
from tests.e2e.audit import OfflineFold
from tests.faults.case import Case, Finding

HEAD = b"/h"
KEPT = ("i", "d")
"""Kinds of rows that are never dropped: images, and segments of ids."""


def table_is_the_log(case: Case) -> Iterator[Finding]:
    """What a new worker would recover is what the log says, byte for byte; nobody wrote anything else meanwhile."""
    for partition, offset, reason in case.offline.refused:
        yield Finding("table_is_log", f"the fact at {partition}/{offset} was refused: {reason}")
    recovered = OfflineFold(case.recovered.rows, [], []).store
    offline = case.offline.store
    for pet in sorted({record.key.decode() for record in case.evidence.log} - {"/partition"}):
        try:
            same = recovered.state(pet) == offline.state(pet)
        except Exception as error:  # whatever a damaged table raises is a finding
            yield Finding("table_is_log", f"{pet}: cannot be read back: {error!r}")
            continue
        if not same:
            last = recovered.pet(pet).last_offset, offline.pet(pet).last_offset
            yield Finding("table_is_log", f"{pet}: the table stands at log offset {last[0]}, the log at {last[1]}")
    for text in differing_rows(case.offline.rows, case.recovered.rows):
        yield Finding("table_is_log", text)
    for text in case.recovered.went_back:
        yield Finding("zombie_writes_nothing", f"a head went back: {text}")
    for text in case.recovered.rewritten:
        yield Finding("zombie_writes_nothing", f"a row was rewritten: {text}")


def differing_rows(offline: Mapping[bytes, bytes], recovered: Mapping[bytes, bytes]) -> Iterator[str]:
    """What is wrong with the rows below the heads.

    Every row of images and of ids, and every component row that a head refers to, must be there and be equal. A
    component row that has been superseded may be there or be gone. No row of images or ids may be there that the log
    does not make, and the rows of events that may be repeated must be there.
    """
    wanted = {key for key in offline if _kind(key) in KEPT}
    for key, value in offline.items():
        if key.endswith(HEAD):
            wanted |= referred(key, value)
    for key in sorted(wanted):
        if key not in recovered:
            yield f"row {key.decode()} is missing"
        elif recovered[key] != offline.get(key):
            yield f"row {key.decode()} differs from what the log makes"
    for key in sorted(recovered):
        if _kind(key) in KEPT and key not in offline:
            yield f"row {key.decode()} is nothing that the log makes"
        if key.endswith(HEAD):
            unwanted = [row for row in pending(key, recovered) if row not in wanted]
            yield from (f"row {row.decode()} may be put again, and is missing" for row in unwanted)


def referred(key: bytes, head: bytes) -> set[bytes]:
    """Keys of the component rows that a head refers to, the row of the current version among them."""
    state = decode_head(head).state
    offsets = {offset for _, offset in state.components} | {state.version_offset}
    return {row_key(_pet(key), "c", offset) for offset in offsets if offset >= 0}


def pending(key: bytes, rows: Mapping[bytes, bytes]) -> list[bytes]:
    """Keys of missing rows of events that a new owner puts again."""
    events = decode_head(rows[key]).delivery.pending
    keys = [row_key(_pet(key), kind, event.offset) for event in events for kind in event.kinds]
    return [row for row in keys if row not in rows]


def _pet(head: bytes) -> str:
    return head.removesuffix(HEAD).decode()


def _kind(key: bytes) -> str:
    parts = key.decode().split("/")
    return parts[-2] if len(parts) >= 3 else ""
