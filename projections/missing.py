"""What a query about history does not find, by cause. Raised by the readers, turned into error codes by the views."""

from __future__ import annotations

from typing import Any, Literal

from projections.queries import load

Cause = Literal["pet", "version", "removed", "purged", "cluster", "image"]


class Missing(LookupError):
    """`cause`: the pet was never clustered, or was purged; it has not had the version; retention removed the version; a
    purge destroyed it; the pet had no such cluster at that version; the image lies in none of its kept versions.
    `reason` may be empty.
    """

    def __init__(self, cause: Cause, reason: str = "") -> None:
        super().__init__(reason or cause)
        self.cause = cause
        self.reason = reason


class MergedAway(Missing):
    """The cluster was merged into the cluster `heir` by a version not later than the one that is asked for."""

    def __init__(self, heir: str, version: int) -> None:
        super().__init__("cluster", f"Version {version} merged it into {heir}.")
        self.heir = heir


async def missing_version(connection: Any, pet_id: str, version: int) -> Missing:
    """Why there is no row of `version`: a pet's versions are 1, 2, 3… without a gap, so the last one tells."""
    last, purged = await connection.fetchrow(load("read_numbers_taken"), pet_id)
    if last == 0:
        return Missing("pet")
    if version > last:
        return Missing("version", f"The last version is {last}.")
    return Missing("purged" if version <= purged else "removed")
