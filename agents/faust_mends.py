"""What faust-streaming 0.15.3 gets wrong and we cannot avoid by not using it. Called once by each Faust process.

Recovery race: `Recovery.on_recovery_completed` resumes partitions before it seeks to the committed offsets, so messages
that were fetched in between are delivered and the ones before them skipped. The mend stops the flow first; the original
starts it again after the seek.

What we avoid instead of mending: the producer buffer that lets offsets commit over unsent records
(agents.durable_table), commits past an unacknowledged head (#606) and acknowledged exceptions (#189, #315;
agents.delivery), and a stopped worker that writes on (agents.lease).
"""

from __future__ import annotations

from typing import Any

from faust.tables.recovery import Recovery


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
