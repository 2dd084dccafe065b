"""Where the history of a shadow begins: `rebuild --from`. What lies before is left out as retention would remove it.

Used by `app.rebuild.rebuild` and `app.rebuild.pet`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from projections.queries import load
from projections.shadow.schema import LIVE
from projections.trimming import TABLES
from schemas.errors import InvalidInput
from schemas.headers import parse_timestamp

PETS: Final = 200
ROWS: Final = 1_000_000_000
"""All rows at once: nobody else reads or writes a shadow."""
MAX_VERSION: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Start:
    """The first version that is kept: this one, or the one that held at `moment`; one of the two is given."""

    version: int | None = None
    moment: datetime | None = None


def parse_start(text: str) -> Start:
    """A version's number or an RFC 3339 time with a zone. Raises InvalidInput for anything else."""
    if text.isascii() and text.isdigit():
        if not 1 <= int(text) <= MAX_VERSION:
            raise InvalidInput("--from", f"a version is 1 to {MAX_VERSION}, got {text}")
        return Start(version=int(text))
    moment = parse_timestamp(text)
    if moment is None:
        raise InvalidInput("--from", f"must be a version or an RFC 3339 time with a zone, got {text!r}")
    return Start(moment=moment)


async def leave_out(connection: Any, shadow: str, start: Start) -> int:
    """Remove from the shadow the history before `start`, save pinned versions; how many versions. Pets keep their last
    version in any case. A repeat removes nothing.
    """
    removed, after = 0, ""
    while True:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL search_path TO {shadow}, {LIVE}")
            starts = await connection.fetch(load("list_history_starts_from"), after, start.version, start.moment, PETS)
            pets, versions = [row["pet_id"] for row in starts], [row["version"] for row in starts]
            for table in TABLES:
                answer = await connection.execute(load(f"trim_{table}"), pets, versions, ROWS)
                removed += int(answer.removeprefix("DELETE ")) if table == "versions" else 0
            await connection.execute(f"SET LOCAL search_path TO {LIVE}")
        if not starts:
            return removed
        after = pets[-1]
