"""What faust-streaming 0.15.3 gets wrong and we cannot avoid by not using it. Called once by each Faust process.

Recovery race: `Recovery.on_recovery_completed` resumes partitions before it seeks to the committed offsets, so messages
that were fetched in between are delivered and the ones before them skipped. The mend stops the flow first; the original
starts it again after the seek.

Seek without a commit: `Consumer.perform_seek` leaves a partition for which nothing is committed where it stands, and
aiokafka does the same for offset 0. What was fetched and dropped before the flow was open, and acknowledged as dropped,
is then never read: seen as "expected offset 0, got 2" on a loaded machine. The mend seeks such partitions to their
beginning and forgets acknowledgements from before the seek, since all behind the commit is read again.

Failed commits: `Consumer._commit_offsets` notes offsets as committed also when the group has refused them. The frontier
behind which `tables.store` deletes rows would then stand too far on. The mend forgets them.

Sleep before full buffers: `Consumer._wait_next_records` sleeps for a second when no partition may be fetched, also when
that is so because the streams' buffers are full, which may be over in a millisecond: a backlog of a few partitions was
worked off at the rate of one buffer a second, with an idle processor. The mend waits until a buffer has room.

What we avoid instead of mending: the producer buffer that lets offsets commit over unsent records
(agents.durable_table), commits past an unacknowledged head (#606) and acknowledged exceptions (#189, #315;
agents.delivery), and a stopped worker that writes on (agents.lease).
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from faust import streams
from faust.tables.recovery import Recovery
from faust.transport.consumer import Consumer

from schemas.errors import StopProcess

BUFFER_SECONDS: Final = 1.0
"""Longest wait for room in a buffer: as long as Faust sleeps."""


def mend_faust() -> None:
    """All mends, for all apps of this process. A second call changes nothing.

    Raises StopProcess where they would not hold.
    """
    if streams._CStreamIterator is None:
        # Faust's Python iterator acknowledges events of an older generation, although the stream is one of noack().
        raise StopProcess("faust runs without its compiled extension (NO_CYTHON?): events would be acknowledged unread")
    stop_flow_before_seek()
    seek_where_nothing_is_committed()
    forget_failed_commits()
    wait_for_buffers()


def stop_flow_before_seek() -> None:
    """Mend the recovery race, for all apps of this process. A second call changes nothing."""
    original = Recovery.on_recovery_completed
    if getattr(original, "stops_flow", False):
        return

    async def on_recovery_completed(self: Any, generation_id: int = 0) -> None:
        self.app.consumer.stop_flow()
        await original(self, generation_id)

    on_recovery_completed.stops_flow = True  # type: ignore[attr-defined]
    Recovery.on_recovery_completed = on_recovery_completed


def seek_where_nothing_is_committed() -> None:
    """Mend the seek, for all apps of this process. A second call changes nothing."""
    original = Consumer.perform_seek
    if getattr(original, "seeks_all", False):
        return

    async def perform_seek(self: Any) -> None:
        await original(self)
        for tp in [tp for tp in self.assignment() if tp.topic not in self.app.tables.changelog_topics]:
            self._acked.pop(tp, None)
            self._acked_index.pop(tp, None)
            self._gap.pop(tp, None)
            if not self._committed_offset[tp]:
                await self.seek(tp, 0)  # older messages may be deleted: then the reset policy takes the earliest

    perform_seek.seeks_all = True  # type: ignore[attr-defined]
    Consumer.perform_seek = perform_seek


def forget_failed_commits() -> None:
    """Mend the commit, for all apps of this process. A second call changes nothing."""
    original = Consumer._commit_offsets
    if getattr(original, "forgets_failures", False):
        return

    async def commit_offsets(self: Any, offsets: Any, *args: Any, **kwargs: Any) -> bool:
        before = {tp: self._committed_offset[tp] for tp in offsets if tp in self._committed_offset}
        committed: bool = await original(self, offsets, *args, **kwargs)
        if not committed:
            for tp, offset in offsets.items():
                if self._committed_offset.get(tp) == offset:
                    self._committed_offset[tp] = before.get(tp)
        return committed

    commit_offsets.forgets_failures = True  # type: ignore[attr-defined]
    Consumer._commit_offsets = commit_offsets


def wait_for_buffers() -> None:
    """Mend the sleep, for all apps of this process. A second call changes nothing."""
    wait_next, drop = Consumer._wait_next_records, Consumer.on_buffer_drop
    if getattr(wait_next, "waits_for_buffers", False):
        return

    async def wait_next_records(self: Any, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's own signature
        if self.flow_active and self._buffered_partitions and not self._get_active_partitions():
            self.has_room = asyncio.Event()
            await self.wait(self.has_room.wait(), timeout=BUFFER_SECONDS)
        return await wait_next(self, timeout)

    def on_buffer_drop(self: Any, tp: Any) -> None:
        drop(self, tp)
        if (has_room := getattr(self, "has_room", None)) is not None:
            has_room.set()

    wait_next_records.waits_for_buffers = True  # type: ignore[attr-defined]
    Consumer._wait_next_records = wait_next_records
    Consumer.on_buffer_drop = on_buffer_drop
