"""What the log has got since a partition was copied: folded on from there, written by the live projector's statements.

The statements find the shadow's tables by the search path of their transaction.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from aiokafka import TopicPartition

from projections.decisions import record_decision
from projections.erasure import erase_versions
from projections.fold_state import FoldState, forget
from projections.log_reading import log_end, read_facts
from projections.postgres import Applied, apply_version
from projections.replayed import Change, feed
from projections.shadow import runs
from projections.shadow.runs import Mark
from projections.shadow.schema import LIVE
from schemas.decisions import DecisionSettled
from schemas.errors import StopProcess
from schemas.pet_keys import KeyReader
from schemas.versions import PetErased, PetVersion
from tables.replay import LogReplay

BETWEEN: Final = -1
"""The offset of a state that is folded on while the rows are not committed."""


class CatchUp:
    """Follows the log for one partition; `close` lets its state go. `mark` says how far the shadow is."""

    def __init__(
        self, topic: str, generation: int, schema: str, mark: Mark, state_folder: Path, keys: KeyReader
    ) -> None:
        self._tp = TopicPartition(topic, mark.partition)
        self._generation = generation
        self._schema = schema
        self.mark = mark
        self._folder = state_folder
        self._state = FoldState(state_folder)
        self._keys = keys
        self._replay = LogReplay(mark.partition, rows=self._state, keys=keys)

    async def restore(self, consumer: Any) -> bool:
        """Fold the partition again up to the mark when the fold's state does not belong to the rows: a batch was cut
        off, or the folder is another machine's. Returns whether that was so.
        """
        if self._state.offset == self.mark.next_offset:
            return False
        self._state.close()
        forget(self._folder)
        self._state = FoldState(self._folder)
        self._replay = LogReplay(self.mark.partition, rows=self._state, keys=self._keys)
        async for records, _ in read_facts(consumer, self._tp, 0, self.mark.next_offset, self._keys):
            for record in records:
                self._replay.feed(record.offset, record.key, record.value)
        self._state.offset = self.mark.next_offset
        return True

    def close(self) -> None:
        """Let the state go."""
        self._state.close()

    async def lag(self, consumer: Any) -> int:
        """Offsets of the log that are not in the shadow yet."""
        return await log_end(consumer, self._tp) - self.mark.next_offset

    async def follow(self, consumer: Any, connection: Any) -> int:
        """Bring the shadow to where the log ends now; how many versions that took. Commits batch by batch, unless the
        caller holds a transaction.
        """
        end, applied = await log_end(consumer, self._tp), 0
        async for records, reached in read_facts(consumer, self._tp, self.mark.next_offset, end, self._keys):
            self._state.offset = BETWEEN
            changes = [
                change for record in records for change in feed(self._replay, record.offset, record.key, record.value)
            ]
            versions = [change for change in changes if isinstance(change, PetVersion)]
            async with connection.transaction():
                await connection.execute(f"SET LOCAL search_path TO {self._schema}, {LIVE}")
                for change in changes:
                    await apply_change(connection, change)
                self.mark = replace(
                    self.mark,
                    next_offset=reached,
                    end_offset=end,
                    events=self.mark.events + len(records),
                    versions=self.mark.versions + len(versions),
                    images=self.mark.images + sum(len(version.members) for version in versions),
                )
                await runs.mark(connection, self._generation, self.mark)
                await connection.execute(f"SET LOCAL search_path TO {LIVE}")
            self._state.offset = reached
            applied += len(versions)
        return applied


async def apply_change(connection: Any, change: Change) -> None:
    """Write what the log's next change is to the tables that the search path finds. Raises StopProcess for a version
    that does not follow.
    """
    if isinstance(change, PetErased):
        await erase_versions(connection, change)
        return
    if isinstance(change, DecisionSettled):
        await record_decision(connection, change)
        return
    outcome = await apply_version(connection, change)
    if not isinstance(outcome, Applied):
        raise StopProcess(f"{change.pet_id}: version {change.version} does not follow: {outcome}")
