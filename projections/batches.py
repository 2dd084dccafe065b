"""Writes decoded records inside one transaction, and fills gaps from the log. Called by `projections.partition`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import structlog
from aiokafka import ConsumerRecord

from projections.dead_letters import (
    RecordedAction,
    RecordedLetter,
    letter_id,
    record_actions,
    record_letters,
)
from projections.decisions import record_decision
from projections.erasure import erase_pet, record_requests
from projections.jobs import RecordedCommand, record_commands, record_statuses
from projections.postgres import Applied, Gap, Ignored, apply_version
from projections.records import Message
from projections.replayed import Change
from projections.telemetry import ProjectorMetrics
from schemas.commands import EmbedImages, PurgePet
from schemas.dead_letters import DeadLetterAction
from schemas.decisions import KINDS, DecisionSettled
from schemas.errors import DeadLetter, StopProcess, UnknownVersion
from schemas.headers import header, record_moment
from schemas.public import DeadLetterRecord, JobStatus
from schemas.versions import PetErased, PetVersion

log = structlog.get_logger(__name__)

Replay = Callable[[str, int, int], AsyncGenerator[Change, None]]
"""``replay(pet_id, log partition, after_version)``: the pet's later versions, folded from the log again, in order, and
purges and decisions of that version or later among them.
"""

OTHER: Final = "other"
"""Counts decisions of kinds that this release does not know."""
UNWRITABLE: Final = (
    DeadLetter,
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)
"""What a message itself is to blame for: the same message would fail again.

SQLSTATE classes 22 (a value), 23 (a constraint) and 54 (too long for an index, too large or too deep for jsonb). No
other class: a full disk, a time-out, a stale plan after a migration or a trigger of the operators' own passes, and what
was dead-lettered meanwhile would be missing from the rows.
"""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A record with its message."""

    record: ConsumerRecord
    message: Message


class BatchWriter:
    """Writes messages in their order. Knows which gaps the log could not fill, so as not to read it again for them."""

    def __init__(self, *, replay: Replay, metrics: ProjectorMetrics) -> None:
        self._replay = replay
        self._metrics = metrics
        self._unfilled: dict[str, tuple[int, str]] = {}

    async def write(self, connection: Any, batch: Sequence[Decoded]) -> None:
        """Write the records of one partition; the caller holds the transaction.

        Raises DeadLetter for a version that does not follow even after the log was read again, and others of
        `UNWRITABLE` for a message that its row refuses.
        """
        commands = [_recorded(item.record, item.message) for item in batch if isinstance(item.message, EmbedImages)]
        statuses = [item.message for item in batch if isinstance(item.message, JobStatus)]
        purges = [item.message for item in batch if isinstance(item.message, PurgePet)]
        if purges:
            await record_requests(connection, purges)
        if commands:
            await record_commands(connection, commands)
        if statuses:
            await record_statuses(connection, statuses)
        self._metrics.job_messages.inc(len(commands) + len(statuses))
        await self._write_letters(connection, batch)
        for item in batch:
            if isinstance(item.message, PetVersion):
                await self._write_version(connection, item.message)
            elif isinstance(item.message, PetErased):
                await self._erase(connection, item.message)
            elif isinstance(item.message, DecisionSettled):
                await self._settle(connection, item.message)

    async def _write_letters(self, connection: Any, batch: Sequence[Decoded]) -> None:
        letters = [_letter(item.record, item.message) for item in batch if isinstance(item.message, DeadLetterRecord)]
        actions = [_action(item.record, item.message) for item in batch if isinstance(item.message, DeadLetterAction)]
        if letters:
            for subject, number in (await record_letters(connection, letters)).items():
                self._metrics.dead_letters(subject).inc(number)
        if actions:
            await record_actions(connection, actions)

    async def _write_version(self, connection: Any, version: PetVersion) -> None:
        outcome = await apply_version(connection, version)
        if isinstance(outcome, Gap):
            outcome = await self._write_behind_gap(connection, version, outcome.last)
        self._count(outcome)

    async def _erase(self, connection: Any, erased: PetErased) -> None:
        await erase_pet(connection, erased)
        self._unfilled.pop(erased.pet_id, None)
        self._metrics.pets_purged.inc()
        log.info("pet_purged", pet_id=erased.pet_id, purge_id=erased.purge_id, last_version=erased.version)

    async def _settle(self, connection: Any, settled: DecisionSettled) -> None:
        if await record_decision(connection, settled):
            kind = settled.kind if settled.kind in KINDS else OTHER
            self._metrics.decisions(kind, "accepted" if settled.accepted else "refused").inc()

    async def _write_behind_gap(self, connection: Any, version: PetVersion, last: int) -> Applied | Ignored:
        """Fill the gap behind `last`, then write. What fails takes the filling back, so the rows stay at `last`."""
        self._metrics.gaps.inc()
        log.warning("version_gap", pet_id=version.pet_id, last=last, version=version.version)
        unfilled, reason = self._unfilled.get(version.pet_id, (-1, ""))
        if unfilled == last:
            raise _unfollowed(version, last, reason)
        try:
            await self._fill_gap(connection, version, last)
        except UNWRITABLE as error:
            reason = f"what lies between cannot be written: {error}"
            self._unfilled[version.pet_id] = (last, reason)
            raise _unfollowed(version, last, reason) from error
        outcome = await apply_version(connection, version)
        if isinstance(outcome, Gap):
            reason = "the log lacks what lies between"
            self._unfilled[version.pet_id] = (last, reason)
            raise _unfollowed(version, last, reason)
        return outcome

    async def _fill_gap(self, connection: Any, version: PetVersion, last: int) -> None:
        replayed = 0
        try:
            async with aclosing(self._replay(version.pet_id, version.partition, last)) as changes:
                async for missing in changes:
                    if isinstance(missing, PetErased):
                        await self._erase(connection, missing)
                    elif isinstance(missing, DecisionSettled):
                        await self._settle(connection, missing)
                    elif isinstance(await apply_version(connection, missing), Applied):
                        replayed += 1
        except UnknownVersion as error:
            raise StopProcess(f"the log of {version.pet_id} cannot be folded: {error}") from error
        self._metrics.versions_replayed.inc(replayed)
        log.info("gap_replayed", pet_id=version.pet_id, after=last, versions=replayed)

    def _count(self, outcome: Applied | Ignored) -> None:
        counter = self._metrics.versions_applied if isinstance(outcome, Applied) else self._metrics.versions_ignored
        counter.inc()


def _unfollowed(version: PetVersion, last: int, reason: str) -> DeadLetter:
    return DeadLetter(f"version {version.version} follows {last}: {reason}")


def _recorded(record: ConsumerRecord, command: EmbedImages) -> RecordedCommand:
    return RecordedCommand(command, record_moment(record.timestamp), record.partition, record.offset)


def _letter(record: ConsumerRecord, letter: DeadLetterRecord) -> RecordedLetter:
    key = letter_id(header(record.headers, "ce_id"), record.topic, record.partition, record.offset)
    return RecordedLetter(key, letter, record.partition, record.offset)


def _action(record: ConsumerRecord, action: DeadLetterAction) -> RecordedAction:
    return RecordedAction(action, record.value, record.partition, record.offset)
