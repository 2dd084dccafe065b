"""A purge of a pet, as rows: what told of it is deleted, and a receipt stays. Called by `projections.batches` inside
its transaction; the rows of versions alone by a rebuild, too.

Whatever comes later for what was accepted before is kept out by the statements that write it: they look at the receipt.
"""

from __future__ import annotations

from typing import Any, Final

from projections.queries import load
from projections.similar.erasing import erase_similar
from projections.text import clean, count, jsonb, moment
from schemas.bounds import check_text
from schemas.commands import PurgePet
from schemas.ids import check_id
from schemas.versions import PetErased

LIVE: Final = "public"


def check_erased(erased: PetErased) -> PetErased:
    """The message, when it fits its rows. Raises InvalidInput naming the field."""
    check_id(erased.pet_id, "pet_id")
    check_id(erased.purge_id, "purge_id")
    count(erased.version, "version", 2**63 - 1)
    for field in ("time", "accepted_until"):
        moment(getattr(erased, field), field)
    for field in ("who", "why"):
        check_text(getattr(erased, field), field)
    return erased


async def record_requests(connection: Any, purges: list[PurgePet]) -> None:
    """Note that these were asked for; what they say of jobs follows when the fold has carried them out."""
    rows = [
        (each.pet_id, each.purge_id, moment(each.accepted_at, "accepted_at"), clean(each.who), clean(each.why))
        for each in purges
    ]
    await connection.executemany(load("insert_purge_request"), rows)


async def erase_pet(connection: Any, erased: PetErased) -> None:
    """Delete what told of the pet up to the purge, and write the receipt; a repeat deletes what came back meanwhile.

    Waits for writers of the pet's partition, for pins and for a batch of retention that is under way, so that nothing
    passes it unseen.
    """
    await connection.execute(load("lock_partition"), erased.partition)
    await connection.execute(load("lock_pins"))
    removed = await erase_versions(connection, erased)
    for row in await connection.fetch(load("list_kept_schemas")):
        kept = await _erase_kept(connection, erased, row["name"])
        removed |= {f"{row['name']}.{table}": rows for table, rows in kept.items() if rows}
    removed |= await _erase_jobs(connection, erased)
    removed |= await erase_similar(connection, erased)
    await connection.execute(load("upsert_purge"), *_receipt(erased, removed))


async def erase_versions(connection: Any, erased: PetErased) -> dict[str, int]:
    """Delete the pet's versions and decisions in the tables that the search path finds; how many rows of each.

    The next version there is that of the purge plus one.
    """
    removed = await connection.fetchrow(load("erase_versions"), erased.pet_id, erased.version)
    decisions = await connection.execute(load("erase_decisions"), erased.pet_id, erased.offset)
    at = moment(erased.time, "time")
    await connection.execute(load("raise_purged_version"), erased.pet_id, erased.version, at)
    return {**removed, "pet_decisions": int(decisions.removeprefix("DELETE "))}


async def _erase_kept(connection: Any, erased: PetErased, schema: str) -> dict[str, int]:
    """The same in what a rebuild has replaced, and may be put back."""
    await connection.execute(f"SET LOCAL search_path TO {schema}, {LIVE}")
    removed = await erase_versions(connection, erased)
    await connection.execute(f"SET LOCAL search_path TO {LIVE}")
    return removed


async def _erase_jobs(connection: Any, erased: PetErased) -> dict[str, int]:
    until, purged = moment(erased.accepted_until, "accepted_until"), moment(erased.time, "time")
    row = await connection.fetchrow(load("erase_jobs"), erased.pet_id, until, max(until, purged), erased.version)
    return dict(row)


def _receipt(erased: PetErased, removed: dict[str, int]) -> tuple[Any, ...]:
    return (
        erased.pet_id,
        erased.purge_id,
        moment(erased.accepted_until, "accepted_until"),
        clean(erased.who),
        clean(erased.why),
        erased.version,
        moment(erased.time, "time"),
        erased.partition,
        erased.offset,
        jsonb({"postgres": removed}),
    )
