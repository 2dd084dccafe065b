"""Users' decisions and what became of them, as rows. Called by `projections.batches` inside its transaction, and by
rebuilds: the rows follow from the log alone.
"""

from __future__ import annotations

from typing import Any

from projections.queries import load
from projections.text import clean, count, jsonb, moment
from schemas.bounds import MAX_NAME, MAX_TEXT, check_text
from schemas.decisions import DecisionSettled
from schemas.ids import check_id

_VERSION_MAX = 2**63 - 1


def check_settled(settled: DecisionSettled) -> DecisionSettled:
    """The message, when it fits its row. Raises InvalidInput naming the field."""
    check_id(settled.pet_id, "pet_id")
    check_id(settled.decision_id, "decision_id")
    moment(settled.time, "time")
    for field in ("expected_version", "version", "offset"):
        count(getattr(settled, field), field, _VERSION_MAX)
    count(settled.images, "images")
    count(settled.cluster + 1, "cluster")
    check_text(settled.kind, "kind", MAX_NAME)
    for field in ("who", "why", "reason"):
        check_text(getattr(settled, field), field, MAX_TEXT)
    if settled.undoes:
        check_id(settled.undoes, "undoes")
    return settled


def decision_row(settled: DecisionSettled) -> tuple[Any, ...]:
    """Its columns, in the order of `projections.bulk_rows.COLUMNS`; nobody has undone it yet."""
    return (
        settled.pet_id,
        settled.decision_id,
        clean(settled.kind),
        jsonb(settled.arguments),
        settled.expected_version,
        clean(settled.who),
        clean(settled.why),
        settled.accepted,
        settled.code,
        clean(settled.reason),
        settled.version,
        settled.cluster if settled.cluster >= 0 else None,
        settled.images,
        None,
        settled.partition,
        settled.offset,
        moment(settled.time, "time"),
    )


async def record_decision(connection: Any, settled: DecisionSettled) -> bool:
    """Write what became of a decision to the tables that the search path finds; whether that was news.

    Of several with one id the first in the log stays, and a purge behind it keeps it out.
    """
    if await connection.execute(load("insert_decision"), *decision_row(settled)) != "INSERT 0 1":
        return False
    if settled.undoes:
        await connection.execute(load("undo_decision"), settled.pet_id, settled.undoes, settled.decision_id)
    return True
