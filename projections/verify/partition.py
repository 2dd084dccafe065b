"""Verifies one partition of the log: the table, Postgres and Redis against the fold of it. Run by `app.verify`.

The system runs on meanwhile. Each pet is compared at a point that both sides have:

    table      the changelog is read first, then the log. A pet's head says up to which offset it is folded; when the
               fold of the log stands just there, the pet's rows are compared byte for byte (`table`)
    Postgres   a pet's rows in one snapshot, and those that its versions come to, both as they stood at the last
               version that both have (`rows`)
    Redis      the cached bytes say of which version they are; they must be the answer of that version (`answers`)

Who is merely behind does not differ. But up to the frontier (`frontier`) all must be there: what the fold has committed
must be in the table; what the projector's positions have passed must be in Postgres, and in Redis if it has an answer.
What differs is looked at again, behind all that has come meanwhile, and told only when the same differs then. A pet
that never holds still is told as unsettled.

Nothing is written but the folder with the copies.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import replace
from typing import Any, Final

from aiokafka import TopicPartition

from projections.cache import AnswerCache
from projections.fold_state import FoldState, forget
from projections.log_reading import log_end, need_beginning, read, read_facts
from projections.made_up import is_made_up
from projections.offsets import LogOffsets
from projections.shadow.runs import Mark
from projections.verify.changelog import TableCopy, pet_of
from projections.verify.findings import Finding, Place
from projections.verify.folding import Folding, Versions
from projections.verify.frontier import Settled
from projections.verify.outcome import Seen, Task, Verified, is_same
from projections.verify.pets import PetCheck
from projections.verify.reading import pets_of_partition
from schemas.headers import header
from schemas.pet_keys import KeyReader
from schemas.topics import PARTITION_FACTS_KEY

LOOKS: Final = 4


class PartitionCheck:
    """`run` once. `consumer`: started, in no group. `connection`: reads only. `told`: hears how far it is; done and
    total count records of the changelog and of the log, and pets.
    """

    def __init__(
        self,
        task: Task,
        *,
        consumer: Any,
        broker: LogOffsets,
        connection: Any,
        cache: AnswerCache,
        keys: KeyReader,
        told: Callable[[Mark], None] = lambda mark: None,
    ) -> None:
        self._task = task
        self._consumer = consumer
        self._broker = broker
        self._connection = connection
        self._cache = cache
        self._keys = keys
        self._told = told
        self._log = TopicPartition(task.log, task.partition)
        self._changelog = TopicPartition(task.changelog, task.partition)
        self._settled = Settled(self._log, TopicPartition(task.versions, task.partition), task.group)
        self._mark = Mark(task.partition)
        self._done = Verified(task.partition)

    async def run(self) -> Verified:
        """Look, and look again at what differs. Raises UnknownVersion, StopProcess for a log without its beginning."""
        await need_beginning(self._consumer, self._log)
        forget(self._task.folder)
        copied = FoldState(self._task.folder / "table")
        try:
            await self._looks(copied)
        finally:
            copied.close()
            forget(self._task.folder)
        return self._done

    async def _looks(self, copied: FoldState) -> None:
        copy, told = TableCopy(copied), dict[tuple[str, Place], Finding]()
        only = None if self._task.only is None else {self._task.only}
        seen = await self._look(1, copy, copied, only)
        for number in range(2, LOOKS + 1):
            pets = {pet_id for pet_id, _ in seen.findings} | seen.again
            if not pets:
                break
            await asyncio.sleep(self._task.pause_seconds)
            before, seen = seen, await self._look(number, copy, copied, pets)
            same = [key for key, each in seen.findings.items() if is_same(before.findings.get(key), each)]
            told |= {key: seen.findings.pop(key) for key in same}
        self._done.unsettled = sorted({pet_id for pet_id, _ in seen.findings} | seen.again)
        self._done.findings = [await self._with_event(told[key]) for key in sorted(told)]

    async def _look(self, number: int, copy: TableCopy, copied: FoldState, only: Collection[str] | None) -> Seen:
        must = await self._settled.checkpoint(self._broker)
        await self._follow_changelog(copy, copied)
        folder = self._task.folder / f"look-{number}"
        fold, kept = FoldState(folder / "fold"), FoldState(folder / "versions")
        try:
            check = PetCheck(self._connection, self._cache, self._settled)
            if only is not None:
                await check.read_cached(_pets(only))
            versions = Versions(kept)
            folding = Folding(self._task.partition, fold, versions, copy, copied, must, only, self._keys)
            end = await self._fold_log(folding)
            seen = Seen()
            for pet_id, first, differing in folding.table_differences():
                seen.add(pet_id, "table", first, differing)
            await self._compare_pets(check, versions, end, only, seen)
            if number == 1:
                self._note(folding, check)
            return seen
        finally:
            fold.close()
            kept.close()
            forget(folder)

    async def _follow_changelog(self, copy: TableCopy, copied: FoldState) -> None:
        """Read what the changelog has got since the last look."""
        wanted = None if self._task.only is None else {self._task.only, PARTITION_FACTS_KEY}
        end = await log_end(self._consumer, self._changelog)
        self._tell(0, (end - copied.offset) + await log_end(self._consumer, self._log))
        async for records, reached in read(self._consumer, self._changelog, copied.offset, end):
            for record in records:
                if record.key is not None and (wanted is None or pet_of(record.key) in wanted):
                    copy.apply(record.key, record.value)
            copied.offset = reached
            self._tell(len(records))
        copied.offset = end

    async def _fold_log(self, folding: Folding) -> int:
        """Fold the log from its beginning to where it ends now; that end."""
        end = await log_end(self._consumer, self._log)
        async for records, _ in read_facts(self._consumer, self._log, 0, end, self._keys):
            for record in records:
                folding.feed(record.offset, record.key, record.value)
            self._mark = replace(self._mark, events=self._mark.events + len(records))
            self._tell(len(records))
        self._tell(0, folding.pets)
        return end

    async def _compare_pets(
        self, check: PetCheck, versions: Versions, end: int, only: Collection[str] | None, seen: Seen
    ) -> None:
        known = set[str]()
        for pet_id in versions.pets():
            known.add(pet_id)
            await self._compare_pet(check, pet_id, versions, end, seen)
        async for pet_id in self._pets_in_postgres(only):
            if pet_id not in known and await is_made_up(self._connection, pet_id):
                self._done.made_up += 1  # never looked at again: nothing of it is told
            elif pet_id not in known:
                await self._compare_pet(check, pet_id, versions, end, seen)
        ends_now = await log_end(self._consumer, self._log)
        for pet_id, (version, offset) in check.newer.items():
            if offset >= ends_now:
                seen.add(pet_id, "postgres", check.beyond(version, offset), 1)

    async def _compare_pet(self, check: PetCheck, pet_id: str, versions: Versions, end: int, seen: Seen) -> None:
        found = await check.compare(pet_id, list(versions.changes(pet_id)), end)
        for place, (first, number) in found.items():
            seen.add(pet_id, place, first, number)
        if pet_id in check.moved:
            seen.again.add(pet_id)
        self._tell(1)

    async def _pets_in_postgres(self, only: Collection[str] | None) -> AsyncIterator[str]:
        if only is not None:
            for pet_id in _pets(only):
                yield pet_id
            return
        async for pet_id in pets_of_partition(self._connection, self._task.partition):
            yield pet_id

    async def _with_event(self, finding: Finding) -> Finding:
        """With the ids of the log event, as its headers have them."""
        if finding.offset < 0:
            return finding
        async for records, _ in read(self._consumer, self._log, finding.offset, finding.offset + 1):
            for record in records:
                return replace(
                    finding, ce_id=header(record.headers, "ce_id"), ce_type=header(record.headers, "ce_type")
                )
        return finding

    def _note(self, folding: Folding, check: PetCheck) -> None:
        self._done.events, self._done.pets, self._done.in_table = folding.events, folding.pets, folding.compared
        self._done.in_postgres, self._done.in_redis = check.in_postgres, check.in_redis

    def _tell(self, done: int, more: int = 0) -> None:
        mark = self._mark
        self._mark = replace(mark, next_offset=mark.next_offset + done, end_offset=mark.end_offset + more)
        self._told(self._mark)


def _pets(wanted: Collection[str]) -> list[str]:
    """Those that may have an answer."""
    return sorted(set(wanted) - {PARTITION_FACTS_KEY})
