"""A pet's decisions in Postgres against those that the log leads to. Pure; used by `pets`.

Compared are those up to the event of the last version that both sides have: what is behind it, one of them may not have
yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from projections.bulk_rows import COLUMNS, Row
from projections.verify.findings import NOTHING, Difference, first_difference, short

TABLE: Final = "pet_decisions"


def decision_differences(expected: Sequence[Row], live: Sequence[Row], last_offset: int) -> Iterator[Difference]:
    """What differs among decisions of log offset `last_offset` or before."""
    mine, theirs = _up_to(expected, last_offset), _up_to(live, last_offset)
    for decision_id in [*mine, *(each for each in theirs if each not in mine)]:
        name, wanted, found = f"{TABLE}[{decision_id}]", mine.get(decision_id), theirs.get(decision_id)
        if wanted is None or found is None:
            version = (wanted or found or {})["version"]
            told = (NOTHING, "a row") if wanted is None else ("a row", NOTHING)
            yield Difference(name, *told, version)
        elif wanted != found:
            column = next(column for column in wanted if wanted[column] != found[column])
            inner, *values = first_difference(wanted[column], found[column]) or ("", *map(short, (wanted, found)))
            yield Difference(f"{name}.{column}{inner}", values[0], values[1], wanted["version"])


def _up_to(rows: Sequence[Row], last_offset: int) -> dict[str, dict[str, Any]]:
    """Decision → its columns; one that was undone only behind `last_offset` is not undone here."""
    named = [dict(zip(COLUMNS[TABLE], row, strict=True)) for row in rows]
    there = {row["decision_id"]: row for row in named if row["log_offset"] <= last_offset}
    for row in there.values():
        row["arguments"] = msgspec.json.decode(row["arguments"])
        if row["undone_by"] not in there:
            row["undone_by"] = None
    return there
