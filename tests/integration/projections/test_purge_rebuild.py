"""A purge and a rebuild: the shadow forgets the pet as the live rows do, and so does what a swap has put aside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from projections.bulk_rows import COLUMNS, BulkRows, VersionGap
from projections.erasure import erase_pet, erase_versions
from projections.postgres import Applied, Gap, Purged, apply_version
from projections.purges import PurgeRecords
from projections.queries import load
from projections.shadow import schema
from projections.shadow.compare import compare
from schemas.versions import PetErased, PetVersion
from tests.integration.projections.purge_samples import EMPTY, OTHER, PET, counts, erased, fill, project
from tests.integration.projections.samples import Album, member, version

SHADOW = "media_shadow_7"
KEPT = "media_before_7"
PURGED_AT = 20


def history() -> list[PetVersion | PetErased]:
    """Two pets; one is purged and lives again."""
    first, second = Album(PET, seed=1), Album(OTHER, seed=2)
    before = [album.draw() for _ in range(PURGED_AT) for album in (first, second)]
    after = [version(PET, PURGED_AT + number, (member(f"new-{number}", -1),)) for number in (1, 2)]
    return [*before, erased(PURGED_AT), *after]


async def write(connection: Any, changes: Sequence[PetVersion | PetErased]) -> None:
    async with connection.transaction():
        for change in changes:
            if isinstance(change, PetErased):
                await erase_versions(connection, change)
            else:
                assert isinstance(await apply_version(connection, change), Applied)


async def copied(connection: Any, changes: Sequence[PetVersion | PetErased]) -> None:
    """Copy into the shadow as a rebuild does."""
    bulk = BulkRows()
    await schema.create(connection, SHADOW)
    for change in changes:
        if isinstance(change, PetErased):
            bulk.erase(change)
        else:
            bulk.apply(change)
    rows = bulk.take()
    for table, row in bulk.holding():
        rows[table].append(row)
    async with connection.transaction():
        for table, columns in COLUMNS.items():
            await connection.copy_records_to_table(table, schema_name=SHADOW, records=rows[table], columns=columns)
        await connection.execute(f"SET LOCAL search_path TO {SHADOW}, public")
        for pet_id, number in bulk.erased.items():
            await connection.execute(load("erase_versions"), pet_id, number)
    await schema.index(connection, SHADOW)


async def test_copied_rows_of_a_purged_pet_are_those_of_its_new_life(pool: Any) -> None:
    changes = history()
    async with pool.acquire() as connection:
        await write(connection, changes)
        await copied(connection, changes)
        assert await connection.fetchval(f"SELECT count(*) FROM {SHADOW}.pet_clusters WHERE pet_id = $1", PET) == 2
        found = await compare(connection, SHADOW)
        assert (found.pets, found.differing) == (2, 0), found.differences
        await connection.execute(f"SET search_path TO {SHADOW}, public")
        assert await apply_version(connection, version(PET, PURGED_AT + 3)) == Applied(PURGED_AT + 3)
        assert await apply_version(connection, version(PET, 4)) == Purged(PURGED_AT)
        await connection.execute("RESET search_path")


async def test_pets_that_only_one_side_knows_to_be_purged_are_left_out_of_a_comparison(pool: Any) -> None:
    """As in an empty database whose shadow was built from a log that tells of nothing but purged pets."""
    async with pool.acquire() as connection:
        await copied(connection, [erased(PURGED_AT), version(PET, PURGED_AT + 1)])
        found = await compare(connection, SHADOW)
        assert (found.pets, found.differing) == (0, 0), found.differences


async def test_a_replay_that_cannot_read_what_was_before_the_purge_comes_to_the_same(pool: Any) -> None:
    """Its key is destroyed, so the purge is the first that a replay hears of the pet."""
    changes = history()
    purge = changes.index(erased(PURGED_AT))
    others = [change for change in changes[:purge] if change.pet_id == OTHER]
    async with pool.acquire() as connection:
        await write(connection, changes)
        await copied(connection, [*others, changes[purge]])
        assert (await compare(connection, SHADOW)).differing == 1, "the shadow lacks the pet's new life so far"
        await connection.execute(f"SET search_path TO {SHADOW}, public")
        await write(connection, changes[purge + 1 :])
        await connection.execute("RESET search_path")
        assert (await compare(connection, SHADOW)).differing == 0


async def test_a_pet_that_one_side_has_yet_to_purge_is_no_difference(pool: Any) -> None:
    changes = history()
    async with pool.acquire() as connection:
        await copied(connection, changes[:-3])
        await write(connection, changes)
        found = await compare(connection, SHADOW)
        assert (found.pets, found.differing) == (1, 0)


def test_a_version_that_does_not_follow_the_purge_is_a_gap() -> None:
    bulk = BulkRows()
    bulk.erase(erased(5))
    assert bulk.erased == {}, "nothing was given before"
    with pytest.raises(VersionGap):
        bulk.apply(version(PET, 7))
    bulk.apply(version(PET, 6))


async def test_what_a_swap_has_put_aside_forgets_the_pet_too(pool: Any) -> None:
    await fill(pool, versions=5)
    async with pool.acquire() as connection:
        await copied(connection, [])
        await connection.execute(f"CREATE SCHEMA {KEPT}")
        async with connection.transaction():
            await schema.move(connection, schema.LIVE, KEPT)
            await schema.move(connection, SHADOW, schema.LIVE)
        async with connection.transaction():
            await erase_pet(connection, erased(6))
        assert await counts(pool) == EMPTY
        for table in schema.TABLES[:-1]:
            assert await connection.fetchval(f"SELECT count(*) FROM {KEPT}.{table}") == 0
        receipt = await PurgeRecords(pool).find(PET, "purge-1")
        assert receipt is not None
        assert receipt.removed is not None
        assert receipt.removed.postgres[f"{KEPT}.pet_clusters"] == 5
        # A rollback applies to it what was sent since, from before the purge too.
        await connection.execute(f"SET search_path TO {KEPT}, public")
        assert await apply_version(connection, version(PET, 6)) == Purged(6)
        await connection.execute("RESET search_path")
    assert await project(pool, version(PET, 8), version(PET, 7)) == [Gap(6), Applied(7)]
